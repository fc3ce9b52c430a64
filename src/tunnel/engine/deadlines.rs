//! What is due when, and what is done when the alarm goes off.

use tokio::time::Instant;

use crate::{
    error::Side,
    instant::{FAR, saturating_add},
    tunnel::report::{Timer, TunnelEnd},
    tunnel::{flow::Flow, keep_alive::Action, pair::LegId},
};

use super::splice::Core;

impl Core {
    /// The earliest moment at which something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.closing().is_some() {
            return self.closing();
        }
        let mut earliest = Earliest(None);
        earliest.at(self.expires());
        earliest.at(self.scheduled_at());
        earliest.at(self.linger_deadline());
        earliest.at(self.idle_deadline());
        for side in LegId::BOTH {
            earliest.at(self.keep_alive_deadline(side));
        }
        for flow in self.flows.iter() {
            earliest.at(self.stall_deadline(flow));
        }
        earliest.0
    }

    fn expires(&self) -> Option<Instant> {
        let lifetime = self.config.max_lifetime?;
        Some(self.opened + lifetime.min(FAR).mul_f32(self.lifetime_share))
    }

    fn scheduled_at(&self) -> Option<Instant> {
        Some(self.ending.as_ref()?.scheduled.as_ref()?.at)
    }

    fn idle_deadline(&self) -> Option<Instant> {
        let passed = self.flows.iter().map(Flow::last_passed).max()?;
        Some(saturating_add(passed, self.config.idle_timeout?))
    }

    fn linger_deadline(&self) -> Option<Instant> {
        let first = self.first_end()?;
        let open = &self.flows[first.side.other()];
        let passed = first.at.max(open.last_passed());
        Some(saturating_add(passed, self.config.half_close_timeout?))
    }

    fn keep_alive_deadline(&self, side: LegId) -> Option<Instant> {
        let flow = &self.flows[side];
        // What is not read is not missed: a side that has ended cannot answer, and the answer of
        // one whose bytes the other does not take waits behind them.
        if flow.source_has_ended() || flow.stalled_since().is_some() {
            return None;
        }
        let leg = &self.legs[side];
        leg.pinger.as_ref()?.deadline(leg.last_received)
    }

    fn stall_deadline(&self, flow: &Flow) -> Option<Instant> {
        Some(saturating_add(
            flow.stalled_since()?,
            self.config.write_timeout?,
        ))
    }

    /// The alarm went off: does what is due.
    pub(super) fn on_time(&mut self, now: Instant) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if due(self.closing()) {
            return self.give_up();
        }
        if due(self.scheduled_at()) {
            if let Some(scheduled) = self.ending_mut().scheduled.take() {
                return self.end_by_command(scheduled.command, now);
            }
        }
        for source in LegId::BOTH {
            if due(self.stall_deadline(&self.flows[source])) {
                let stalled = Side::from(source.other());
                return self.end(TunnelEnd::Timeout(Timer::Write, stalled), stalled, now);
            }
        }
        if due(self.linger_deadline()) {
            return self.end_linger(now);
        }
        if due(self.expires()) {
            let end = TunnelEnd::Timeout(Timer::MaxLifetime, Side::Proxy);
            return self.end(end, Side::Proxy, now);
        }
        if due(self.idle_deadline()) {
            return self.end(
                TunnelEnd::Timeout(Timer::Idle, Side::Proxy),
                Side::Proxy,
                now,
            );
        }
        let dice = fastrand::f32();
        for side in LegId::BOTH {
            if !due(self.keep_alive_deadline(side)) {
                continue;
            }
            match self.legs[side].tick(now, dice) {
                Action::Wait => {}
                Action::Ping => self.ping_along(side.other(), now, dice),
                Action::Dead => {
                    let side = Side::from(side);
                    return self.end(TunnelEnd::Timeout(Timer::Pong, side), side, now);
                }
            }
        }
    }

    /// The other leg is pinged now: so is this one, which saves a wake-up.
    fn ping_along(&mut self, side: LegId, now: Instant, dice: f32) {
        if self.keep_alive_deadline(side).is_some() {
            self.legs[side].join(now, dice);
        }
    }
}

/// The smallest of some moments.
struct Earliest(Option<Instant>);

impl Earliest {
    fn at(&mut self, moment: Option<Instant>) {
        if let Some(moment) = moment {
            self.0 = Some(self.0.map_or(moment, |earliest| earliest.min(moment)));
        }
    }
}
