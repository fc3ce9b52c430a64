//! TCP probe.

use super::{
    probe_trait::{Probe, ProbeFuture},
    target::ProbeTarget,
};

/// TCP probe: passes if the upstream accepts a connection, which is closed at once.
///
/// The evidence is weak: the operating system accepts connections even for a process that hangs.
///
/// # Examples
///
/// ```
/// let probe = wsplice::health::probe::TcpProbe::new();
/// # let _ = probe;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpProbe;

impl TcpProbe {
    /// Creates the probe, which has no settings.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Probe for TcpProbe {
    fn probe<'a>(&'a self, target: &'a ProbeTarget) -> ProbeFuture<'a> {
        Box::pin(async { target.connect().await.map(drop) })
    }
}
