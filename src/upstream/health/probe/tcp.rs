//! Whether the upstream accepts connections.

use super::{Probe, ProbeTarget, Probing};

/// Passes when the upstream accepts a connection, which is closed at once.
///
/// It says little: an upstream that hangs accepts connections too, as its system does that for
/// it.
///
/// # Examples
///
/// ```
/// let probe = wsplice::health::TcpProbe::new();
/// # let _ = probe;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpProbe;

impl TcpProbe {
    /// There is nothing to set.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Probe for TcpProbe {
    fn probe<'a>(&'a self, target: &'a ProbeTarget) -> Probing<'a> {
        Box::pin(async { target.connect().await.map(drop) })
    }
}
