//! Order to close or to move the tunnels of a lost upstream, and to break its responses off.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    frame::{CloseCode, CloseFrame},
    http::relay::{Relay, ResponseLength, UpstreamLoss},
    instant::{FAR, saturating_add},
    tunnel::registry::{Command, Entry, MoveOrder, Revocable},
    tunnel::report::TunnelEnd,
};

/// Order to close or to move every tunnel that was leased before `at`, and to break the responses off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CloseOrder {
    /// Sequence number among the orders of the pool.
    pub(crate) number: u32,
    pub(crate) at: Instant,
    /// Time from the first of them to the last.
    pub(crate) spread: Duration,
    pub(crate) action: OrderedAction,
    pub(crate) reason: &'static str,
    pub(crate) revocable: Revocable,
}

/// Action on each tunnel of a lost upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderedAction {
    Close,
    /// Move it, or close it if that is not possible.
    Move,
}

impl CloseOrder {
    /// Closes or moves a tunnel within the rest of the spread.
    pub(crate) fn send(&self, tunnel: &Entry, now: Instant) {
        let at = self.time_after(fastrand::f64(), now);
        let close = Command::Close {
            frame: CloseFrame::new(CloseCode::SERVICE_RESTART, self.reason),
            end: TunnelEnd::Drained,
            at: Some(at),
            until: None,
        };
        match self.action {
            OrderedAction::Close => tunnel.send_revocable(close, self.revocable),
            OrderedAction::Move => {
                let otherwise = Some(close);
                tunnel.send_move(MoveOrder { at, otherwise }, self.revocable);
            }
        }
    }

    /// Breaks a response off within the rest of the spread. One that ends by itself has all of that
    /// time.
    pub(crate) fn break_off(&self, relay: &Relay, length: ResponseLength, now: Instant) {
        let loss = match self.revocable {
            Revocable::ByPoolResume => UpstreamLoss::Drained,
            _ => UpstreamLoss::Gone,
        };
        let share = match length {
            ResponseLength::Endless => fastrand::f64(),
            ResponseLength::Finite => 1.0,
        };
        relay.end_at(loss, self.time_after(share, now));
    }

    /// Returns the time after this share of the rest of the spread.
    fn time_after(&self, share: f64, now: Instant) -> Instant {
        let passed = now.saturating_duration_since(self.at);
        let left = self.spread.saturating_sub(passed);
        saturating_add(now, left.min(FAR).mul_f64(share))
    }
}
