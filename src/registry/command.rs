//! Commands to a tunnel.

use tokio::time::Instant;

use crate::{frame::CloseFrame, report::TunnelEnd};

/// A command to a tunnel.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// End with this close frame on both legs, at this moment or at once.
    Close {
        frame: CloseFrame,
        end: TunnelEnd,
        at: Option<Instant>,
    },
    /// Cut both legs off at once.
    Abort { end: TunnelEnd },
}

impl Command {
    /// When the tunnel is to carry it out; `None` means at once.
    pub(crate) const fn at(&self) -> Option<Instant> {
        match self {
            Self::Close { at, .. } => *at,
            Self::Abort { .. } => None,
        }
    }

    pub(super) const fn is_abort(&self) -> bool {
        matches!(self, Self::Abort { .. })
    }
}
