//! Close orders for the tunnels and responses of lost upstreams.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    frame::{CloseCode, CloseFrame},
    http::relay::{Relay, RelayEntry, ResponseLength, UpstreamLoss},
    instant::saturating_add,
    tunnel::registry::{Command, Entry, Revocable},
    tunnel::report::TunnelEnd,
    upstream::{CloseOrder, Member},
};

use super::{handle::Pool, lease::Lease, settings::OnUpstreamLoss, state::PoolState};

impl PoolState {
    /// Closes the tunnels of an upstream, and breaks its responses off, if that was chosen.
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
        for (response, length) in member.responses().under_way() {
            end_response(&response, length, &order, now);
        }
    }
}

impl Lease {
    /// Lists a response that is relayed, so that it ends with its upstream: also if the order to close
    /// came while the request was under way.
    pub(crate) fn enter_response(&self, relay: &Arc<Relay>, length: ResponseLength) -> RelayEntry {
        let entry = self.member().responses().enter(relay, length);
        let order = self.member().close_order();
        if let Some(order) = order.filter(|order| self.is_before(order)) {
            end_response(relay, length, &order, Instant::now());
            // A resume in between has found nothing to call off.
            if self.member().close_order().is_none() {
                relay.cancel_drain();
            }
        }
        entry
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
    let left = rest_of(order, now);
    Command::Close {
        frame: CloseFrame::new(CloseCode::SERVICE_RESTART, order.reason),
        end: TunnelEnd::Drained,
        at: Some(saturating_add(now, left.mul_f64(fastrand::f64()))),
        until: None,
    }
}

/// Breaks a response off within the rest of the spread. One that ends by itself has all of that time.
fn end_response(relay: &Relay, length: ResponseLength, order: &CloseOrder, now: Instant) {
    let loss = match order.revocable {
        Revocable::ByPoolResume => UpstreamLoss::Drained,
        _ => UpstreamLoss::Gone,
    };
    let share = match length {
        ResponseLength::Endless => fastrand::f64(),
        ResponseLength::Finite => 1.0,
    };
    relay.end_at(
        loss,
        saturating_add(now, rest_of(order, now).mul_f64(share)),
    );
}

/// Returns the rest of the time over which an order is carried out.
fn rest_of(order: &CloseOrder, now: Instant) -> Duration {
    let passed = now.saturating_duration_since(order.at);
    order.spread.saturating_sub(passed)
}
