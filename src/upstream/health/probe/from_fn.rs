//! Probes made of closures.

use std::{fmt, future::Future};

use super::{
    failure::ProbeFailure,
    probe_trait::{Probe, ProbeFuture},
    target::ProbeTarget,
};

/// Probe made of a closure by [`probe_fn`].
#[derive(Clone)]
pub struct ProbeFn<F> {
    run: F,
}

/// Creates a probe from a closure that gets the target and returns a future.
///
/// # Examples
///
/// A server that greets every client:
///
/// ```
/// use tokio::io::AsyncReadExt;
/// use wsplice::health::probe::{ProbeFailure, ProbeTarget, probe_fn};
///
/// let probe = probe_fn(|target: ProbeTarget| async move {
///     let mut connection = target.connect().await?;
///     target.step("greeting");
///     match connection.read_u8().await {
///         Ok(b'!') => Ok(()),
///         Ok(_) => Err(ProbeFailure::other("greeted with something else")),
///         Err(error) => Err(ProbeFailure::other(error.to_string())),
///     }
/// });
/// # let _ = probe;
/// ```
pub const fn probe_fn<F, Fut>(run: F) -> ProbeFn<F>
where
    F: Fn(ProbeTarget) -> Fut + Send + Sync,
    Fut: Future<Output = Result<(), ProbeFailure>> + Send + 'static,
{
    ProbeFn { run }
}

impl<F, Fut> Probe for ProbeFn<F>
where
    F: Fn(ProbeTarget) -> Fut + Send + Sync,
    Fut: Future<Output = Result<(), ProbeFailure>> + Send + 'static,
{
    fn probe<'a>(&'a self, target: &'a ProbeTarget) -> ProbeFuture<'a> {
        Box::pin((self.run)(target.clone()))
    }
}

impl<F> fmt::Debug for ProbeFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeFn").finish_non_exhaustive()
    }
}
