//! Health of one upstream, as availability policies see it. Pure.

use tokio::time::Instant;

use crate::upstream::health::health_state::EjectedBy;

/// Health of one upstream, as input of an [`Availability`](super::Availability) policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamHealth<'a> {
    /// Name; see [`Upstream::name`](crate::Upstream::name).
    pub name: &'a str,
    /// Time at which it became unhealthy; `None` while it is healthy or half-open.
    pub unhealthy_since: Option<Instant>,
    /// What made it unhealthy; meaningless while it is healthy.
    pub ejected_by: EjectedBy,
    /// Whether it is being [drained](crate::Pool::drain).
    pub is_draining: bool,
    /// Weight; see [`Upstream::weight`](crate::Upstream::weight).
    pub weight: u32,
}

impl<'a> UpstreamHealth<'a> {
    /// Returns a healthy upstream of weight 1.
    #[must_use]
    pub const fn healthy() -> Self {
        Self {
            name: "",
            unhealthy_since: None,
            ejected_by: EjectedBy::Failure,
            is_draining: false,
            weight: 1,
        }
    }

    /// Returns an unhealthy upstream of weight 1.
    #[must_use]
    pub const fn unhealthy(since: Instant) -> Self {
        Self {
            unhealthy_since: Some(since),
            ..Self::healthy()
        }
    }

    /// Sets the name.
    #[must_use]
    pub const fn name(mut self, name: &'a str) -> Self {
        self.name = name;
        self
    }

    /// Sets what made it unhealthy.
    #[must_use]
    pub const fn by(mut self, ejected_by: EjectedBy) -> Self {
        self.ejected_by = ejected_by;
        self
    }

    /// Sets whether it is being drained.
    #[must_use]
    pub const fn draining(mut self) -> Self {
        self.is_draining = true;
        self
    }

    /// Sets the weight.
    #[must_use]
    pub const fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Whether the upstream is healthy or half-open.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        self.unhealthy_since.is_none()
    }
}
