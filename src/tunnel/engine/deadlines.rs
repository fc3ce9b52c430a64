//! Deadlines of a tunnel, and the actions when they pass.

use tokio::time::Instant;

use crate::{
    error::Side,
    instant::{FAR, saturating_add},
    tunnel::{
        flow::Flow,
        keep_alive::{Action, Signs},
        pair::LegId,
        report::{Limit, Timer, TunnelEnd},
    },
};

use super::state::Core;

impl Core {
    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let end = self.end_deadline();
        if self.is_ending() {
            return end;
        }
        let mut earliest = Earliest(end);
        earliest.at(self.expires());
        earliest.at(self.scheduled_at());
        earliest.at(self.idle_deadline());
        earliest.at(self.move_deadline());
        for leg in LegId::BOTH {
            earliest.at(self.keep_alive_deadline(leg));
            earliest.at(self.stall_deadline(&self.flows[leg]));
            earliest.at(self.flows[leg].pause().map(|pause| pause.deadline()));
        }
        earliest.0
    }

    /// Whether the proxy ends the tunnel, so that no other timer applies.
    fn is_ending(&self) -> bool {
        self.ending
            .as_ref()
            .is_some_and(|ending| ending.end.is_decided())
    }

    fn expires(&self) -> Option<Instant> {
        let lifetime = self.config.max_lifetime?;
        Some(self.opened + lifetime.min(FAR).mul_f32(self.lifetime_share))
    }

    fn scheduled_at(&self) -> Option<Instant> {
        self.ending.as_ref()?.scheduled_at()
    }

    fn idle_deadline(&self) -> Option<Instant> {
        let timeout = self.config.idle_timeout?;
        // A side that waits for its limit is not idle.
        if self.flows.iter().any(|flow| flow.pause().is_some()) {
            return None;
        }
        let passed = self.flows.iter().map(Flow::last_passed).max()?;
        Some(saturating_add(passed, timeout))
    }

    fn keep_alive_deadline(&self, leg: LegId) -> Option<Instant> {
        let pinger = self.legs[leg].pinger.as_ref()?;
        if !self.is_pinged(leg) {
            return None;
        }
        let listens = pinger.listens_until(self.legs[leg].last_received);
        listens.or_else(|| pinger.deadline(&self.signs(leg)))
    }

    /// Whether the leg is pinged, if it has keep-alive: a side that is not read, or has closed, is not
    /// expected to answer.
    fn is_pinged(&self, leg: LegId) -> bool {
        self.flows[leg].can_answer() && self.flows[leg.other()].can_ping()
    }

    fn signs(&self, leg: LegId) -> Signs {
        let into = &self.flows[leg.other()];
        Signs {
            last_received: self.legs[leg].last_received,
            last_sent: into.last_passed(),
            backlog: into.backlog(),
            is_burdened: self.legs[leg].is_burdened(),
            burdened: self.config.burdened(),
        }
    }

    fn stall_deadline(&self, flow: &Flow) -> Option<Instant> {
        Some(saturating_add(
            flow.stalled_since()?,
            self.config.write_timeout?,
        ))
    }

    /// Acts on the deadlines that have passed.
    pub(super) fn on_deadline(&mut self, now: Instant) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if due(self.scheduled_at()) && !self.is_ending() {
            if let Some(command) = self.ending_mut().take_scheduled() {
                return self.end_by_command(command, now);
            }
        }
        self.apply_orders(now);
        if self.is_ending() {
            return;
        }
        self.on_move_deadline(now);
        let overdue = self.overdue(now).or_else(|| self.tick(now));
        if let Some((end, initiator)) = overdue {
            if self.detach_instead(&end, now) {
                return;
            }
            self.end(&end, initiator, now);
        }
        self.apply_orders(now);
    }

    /// The timer that ends the tunnel at this moment, other than keep-alive.
    fn overdue(&self, now: Instant) -> Option<(TunnelEnd, Side)> {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if let Some(stalled) = self.stalled(now).map(Side::from) {
            return Some((TunnelEnd::Timeout(Timer::Write, stalled), stalled));
        }
        for source in LegId::BOTH {
            if let Some(limit) = self.flows[source]
                .pause()
                .and_then(|pause| pause.overdue(now))
            {
                return Some(over_rate(limit, source.into()));
            }
        }
        let ours = |timer| Some((TunnelEnd::Timeout(timer, Side::Proxy), Side::Proxy));
        if due(self.expires()) {
            return ours(Timer::MaxLifetime);
        }
        if due(self.idle_deadline()) {
            return ours(Timer::Idle);
        }
        None
    }

    /// The leg that is to blame if one has taken no bytes for the whole write timeout.
    fn stalled(&self, now: Instant) -> Option<LegId> {
        let into = |leg: LegId| &self.flows[leg.other()];
        let is_due = |leg: &LegId| {
            let deadline = self.stall_deadline(into(*leg));
            deadline.is_some_and(|deadline| deadline <= now)
        };
        let due = LegId::BOTH.into_iter().filter(is_due);
        let oldest = due.min_by_key(|leg| into(*leg).stalled_since())?;
        // Neither leg is read, because of what the other has not taken. An upstream that echoes
        // cannot take more then, and a client that does not read would make any upstream look
        // failed.
        let is_deadlock = LegId::BOTH
            .into_iter()
            .all(|leg| self.flows[leg].is_blocked());
        Some(if is_deadlock { LegId::Client } else { oldest })
    }

    /// Looks at what keep-alive has due, and whether it ends the tunnel.
    fn tick(&mut self, now: Instant) -> Option<(TunnelEnd, Side)> {
        let jitter_sample = fastrand::f32();
        for leg in LegId::BOTH {
            if !self.is_pinged(leg) {
                continue;
            }
            let signs = self.signs(leg);
            match self.legs[leg].tick(now, &signs, jitter_sample) {
                Action::Wait => {}
                Action::Ping => self.ping_along(leg.other(), now, jitter_sample),
                Action::Dead => {
                    let dead = Side::from(leg);
                    return Some((TunnelEnd::Timeout(Timer::Pong, dead), dead));
                }
                Action::Stuck => {
                    let stuck = Side::from(leg.other());
                    return Some((TunnelEnd::Timeout(Timer::Frame, stuck), stuck));
                }
            }
        }
        None
    }

    /// Pings this leg together with the other one, which saves a wake-up.
    fn ping_along(&mut self, leg: LegId, now: Instant, jitter_sample: f32) {
        if self.is_pinged(leg) {
            self.legs[leg].join(now, jitter_sample);
        }
    }
}

fn over_rate(limit: Limit, offender: Side) -> (TunnelEnd, Side) {
    (TunnelEnd::Limit(limit, offender), offender)
}

/// Accumulator of the earliest of several moments.
struct Earliest(Option<Instant>);

impl Earliest {
    fn at(&mut self, moment: Option<Instant>) {
        if let Some(moment) = moment {
            self.0 = Some(self.0.map_or(moment, |earliest| earliest.min(moment)));
        }
    }
}
