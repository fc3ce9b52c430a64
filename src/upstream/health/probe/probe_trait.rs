//! Trait of probes.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use super::{failure::ProbeFailure, target::ProbeTarget};

/// Future returned by [`Probe::probe`].
pub type ProbeFuture<'a> = Pin<Box<dyn Future<Output = Result<(), ProbeFailure>> + Send + 'a>>;

/// Probe: an active health check of an upstream.
///
/// [`probe_fn`](super::probe_fn) makes a probe of a closure.
///
/// # Cancellation
///
/// The future is dropped at the probe's timeout, or when its upstream leaves the pool; its
/// connection must end with it.
pub trait Probe: Send + Sync {
    /// Checks the upstream once. The caller applies the timeout.
    ///
    /// # Errors
    ///
    /// The reason why the upstream is not healthy.
    fn probe<'a>(&'a self, target: &'a ProbeTarget) -> ProbeFuture<'a>;
}

/// Shows the name of the trait alone, as `Debug` is not demanded of its types.
impl fmt::Debug for dyn Probe + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

impl<P: Probe + ?Sized> Probe for Arc<P> {
    fn probe<'a>(&'a self, target: &'a ProbeTarget) -> ProbeFuture<'a> {
        (**self).probe(target)
    }
}
