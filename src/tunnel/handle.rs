//! Handle on a running tunnel, for other tasks.

use std::{fmt, sync::Arc};

use tokio::time::Instant;

use crate::{
    frame::CloseFrame,
    tunnel::info::TunnelInfo,
    tunnel::registry::{Command, Entry, MoveOrder, Revocable, TunnelStatus},
    tunnel::report::TunnelEnd,
};

/// A handle on a running [`Tunnel`](crate::tunnel::Tunnel): closes it, and shows its figures.
///
/// Cheap to clone. The handle does not keep the tunnel alive, and does nothing once that is over.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tokio::time::Instant;
/// use wsplice::{
///     frame::{CloseCode, CloseFrame},
///     tunnel::{Tunnel, TunnelHandle},
/// };
///
/// /// Ends a tunnel when the token that opened it does.
/// fn expire(tunnel: &TunnelHandle, token_lives: Duration) {
///     let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "token expired");
///     tunnel.close_at(frame, Instant::now() + token_lives);
/// }
/// ```
#[derive(Clone)]
pub struct TunnelHandle {
    entry: Arc<Entry>,
}

impl TunnelHandle {
    pub(super) const fn new(entry: Arc<Entry>) -> Self {
        Self { entry }
    }

    /// The facts of the tunnel that are known from its start.
    #[must_use]
    pub fn info(&self) -> &TunnelInfo {
        self.entry.info()
    }

    /// The figures of both legs at this moment.
    #[must_use]
    pub fn status(&self) -> TunnelStatus {
        self.entry.status()
    }

    /// Closes both legs with this frame, each at its next frame boundary.
    pub fn close(&self, frame: CloseFrame) {
        self.entry.send_command(Command::requested(frame, None));
    }

    /// Closes both legs with this frame at this moment. A later call replaces the one before, so it
    /// can put the close off. Closes that others have asked for (the registry, a drain, the pool)
    /// are not put off by it: of those and this one, the earliest counts.
    pub fn close_at(&self, frame: CloseFrame, at: Instant) {
        let close = Command::requested(frame, Some(at));
        self.entry.send_revocable(close, Revocable::ByHandle);
    }

    /// Calls off the close of [`close_at`](Self::close_at), unless its moment has come.
    pub fn cancel_close_at(&self) {
        self.entry.cancel_revocable(Revocable::ByHandle);
    }

    /// Moves the tunnel to another upstream; the client's connection lives on. A tunnel that cannot be
    /// moved keeps its upstream, as for [`Registry::move_where`](crate::Registry::move_where).
    pub fn move_to_another_upstream(&self) {
        let order = MoveOrder {
            at: Instant::now(),
            otherwise: None,
        };
        self.entry.send_move(order, Revocable::ByMove);
    }

    /// Cuts both legs off at once, without a close frame.
    pub fn abort(&self) {
        let end = TunnelEnd::Requested;
        self.entry.send_command(Command::Abort { end });
    }

    /// Whether the tunnel is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.entry.is_over()
    }
}

impl fmt::Debug for TunnelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelHandle")
            .field("info", self.info())
            .field("is_over", &self.is_over())
            .finish_non_exhaustive()
    }
}
