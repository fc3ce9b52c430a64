//! Close orders for the tunnels of lost upstreams.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    frame::{CloseCode, CloseFrame},
    tunnel::registry::{Command, Entry, Revocable},
    tunnel::report::TunnelEnd,
    upstream::{CloseOrder, Member},
};

use super::{handle::Pool, lease::Lease, settings::OnUpstreamLoss, state::PoolState};

impl PoolState {
    /// Closes the tunnels of an upstream, if that was chosen.
    pub(super) fn close_tunnels(
        &self,
        member: &Member,
        choice: OnUpstreamLoss,
        reason: &'static str,
        revocable: Revocable,
    ) {
        let OnUpstreamLoss::Close { spread } = choice else {
            return;
        };
        let now = Instant::now();
        let order = CloseOrder {
            number: self.next_close_order(),
            at: now,
            spread,
            reason,
            revocable,
        };
        // Before the open tunnels are read: a tunnel that opens later sees the order.
        member.set_close_order(order);
        for entry in member.open_tunnels().entries() {
            entry.send_revocable(close(&order, now), revocable);
        }
    }
}

impl Pool {
    /// Closes a tunnel that was just registered, if an order to close those of its upstream came
    /// while its handshake was under way.
    pub(crate) fn close_if_lost(&self, lease: &Lease, entry: &Entry) {
        let order = lease.member().close_order();
        if let Some(order) = order.filter(|order| lease.is_before(order)) {
            entry.send_revocable(close(&order, Instant::now()), order.revocable);
            // A resume in between has found nothing to call off.
            if lease.member().close_order().is_none() {
                entry.cancel_revocable(order.revocable);
            }
        }
    }
}

/// Returns the command to close within the rest of the spread.
fn close(order: &CloseOrder, now: Instant) -> Command {
    let passed = now.saturating_duration_since(order.at);
    let left: Duration = order.spread.saturating_sub(passed);
    Command::Close {
        frame: CloseFrame::new(CloseCode::SERVICE_RESTART, order.reason),
        end: TunnelEnd::Drained,
        at: Some(crate::instant::saturating_add(
            now,
            left.mul_f64(fastrand::f64()),
        )),
    }
}
