//! Health state of one upstream, and its transitions. Pure.

use std::{fmt, sync::Arc};

use tokio::time::Instant;

/// Health state of an upstream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HealthState {
    /// The upstream gets clients.
    #[non_exhaustive]
    Healthy {
        /// Time at which the state began.
        since: Instant,
    },
    /// The upstream gets clients again; the next handshake decides.
    #[non_exhaustive]
    HalfOpen {
        /// Time at which the state began.
        since: Instant,
    },
    /// The upstream should get no clients.
    #[non_exhaustive]
    Unhealthy {
        /// Time at which the state began.
        since: Instant,
        /// Human-readable cause.
        cause: Arc<str>,
        /// End of the ejection; `None` if probes decide.
        until: Option<Instant>,
    },
}

/// Transition of an upstream's health state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HealthTransition {
    /// The upstream became healthy: by its probes, or by a success while half-open.
    Healthy,
    /// The ejection is over. The upstream has no tunnels now and needs a slow start.
    HalfOpen,
    /// The upstream became unhealthy.
    #[non_exhaustive]
    Unhealthy {
        /// Human-readable cause.
        cause: Arc<str>,
        /// End of the ejection; `None` if probes decide.
        until: Option<Instant>,
    },
}

/// What an upstream was ejected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EjectedBy {
    /// A failing probe, or failed connects: there is no doubt about it.
    Failure,
    /// News of clients, or a comparison with the other upstreams.
    Clients,
    /// The operator, or a setting: it is not [ready](crate::pool::PoolBuilder::unhealthy_until_probed).
    Operator,
}

/// Control of an upstream's health by the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HealthControl {
    /// Events decide.
    #[default]
    Auto,
    /// The upstream is healthy, whatever events say.
    ForcedHealthy,
    /// The upstream is unhealthy, whatever events say.
    ForcedUnhealthy,
}

impl HealthControl {
    /// Returns the control as a [slug](crate#slugs): `auto`, `forced_healthy` or
    /// `forced_unhealthy`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ForcedHealthy => "forced_healthy",
            Self::ForcedUnhealthy => "forced_unhealthy",
        }
    }
}

impl HealthState {
    /// Whether the upstream should get clients: it is healthy or half-open.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        !matches!(self, Self::Unhealthy { .. })
    }

    /// Returns the state as a [slug](crate#slugs): `healthy`, `half_open` or `unhealthy`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Healthy { .. } => "healthy",
            Self::HalfOpen { .. } => "half_open",
            Self::Unhealthy { .. } => "unhealthy",
        }
    }

    /// Returns when the state began.
    #[must_use]
    pub const fn since(&self) -> Instant {
        match self {
            Self::Healthy { since } | Self::HalfOpen { since } | Self::Unhealthy { since, .. } => {
                *since
            }
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy { .. } => f.write_str("healthy"),
            Self::HalfOpen { .. } => f.write_str("half-open"),
            Self::Unhealthy { cause, .. } => write!(f, "unhealthy: {cause}"),
        }
    }
}

impl HealthTransition {
    /// Returns the state that was reached as a [slug](crate#slugs), as
    /// [`HealthState::as_str`] does.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::HalfOpen => "half_open",
            Self::Unhealthy { .. } => "unhealthy",
        }
    }
}

impl fmt::Display for HealthTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy"),
            Self::HalfOpen => f.write_str("half-open"),
            Self::Unhealthy { cause, .. } => write!(f, "unhealthy: {cause}"),
        }
    }
}
