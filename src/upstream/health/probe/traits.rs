//! The seam.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use super::{ProbeFailure, ProbeTarget};

/// What [`Probe::probe`] returns.
pub type Probing<'a> = Pin<Box<dyn Future<Output = Result<(), ProbeFailure>> + Send + 'a>>;

/// Asks an upstream whether it answers as it should.
///
/// For one in a few lines see [`probe_fn`](super::probe_fn).
///
/// # Cancellation
///
/// The future is dropped when the probe's time is over or its upstream leaves the pool; what it
/// began must end with it.
pub trait Probe: fmt::Debug + Send + Sync {
    /// Asks once. There is no need for a timeout: whoever asks has one.
    ///
    /// # Errors
    ///
    /// What was met instead of a healthy upstream.
    fn probe<'a>(&'a self, target: &'a ProbeTarget) -> Probing<'a>;
}

impl<P: Probe + ?Sized> Probe for Arc<P> {
    fn probe<'a>(&'a self, target: &'a ProbeTarget) -> Probing<'a> {
        (**self).probe(target)
    }
}
