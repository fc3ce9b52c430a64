//! Record of a change of a tunnel's upstream.

use std::{sync::Arc, time::Duration};

use super::loss::Loss;

/// A change of the upstream of a running tunnel; see [`Reattach`](crate::tunnel::reattach::Reattach).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamChange {
    /// The upstream that was lost, as it was configured.
    pub from: Arc<str>,
    /// The upstream that the tunnel has had since.
    pub to: Arc<str>,
    /// How the first one was lost.
    pub loss: Loss,
    /// When it was lost, counted from the tunnel's start.
    pub lost_after: Duration,
    /// Time that the tunnel was without an upstream.
    pub gap: Duration,
}

impl UpstreamChange {
    /// A change at the start of a tunnel, for tests of an [`Observer`](crate::Observer); the rest of
    /// the fields can be set.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::tunnel::reattach::{Loss, UpstreamChange};
    ///
    /// let change = UpstreamChange::new("10.0.0.1:8080", "10.0.0.2:8080", Loss::ClosedWithoutFrame);
    /// assert_eq!(change.loss.as_str(), "closed_without_frame");
    /// ```
    pub fn new(from: impl Into<Arc<str>>, to: impl Into<Arc<str>>, loss: Loss) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            loss,
            lost_after: Duration::ZERO,
            gap: Duration::ZERO,
        }
    }
}
