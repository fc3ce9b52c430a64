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
pub trait Probe: fmt::Debug + Send + Sync {
    /// Checks the upstream once. The caller applies the timeout.
    ///
    /// # Errors
    ///
    /// The reason why the upstream is not healthy.
    fn probe<'a>(&'a self, target: &'a ProbeTarget) -> ProbeFuture<'a>;
}

impl<P: Probe + ?Sized> Probe for Arc<P> {
    fn probe<'a>(&'a self, target: &'a ProbeTarget) -> ProbeFuture<'a> {
        (**self).probe(target)
    }
}
