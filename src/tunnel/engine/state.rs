//! State of a tunnel: its legs, its flows and its end.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    error::Side,
    frame::{Extensions, Rsv, Rules},
    tunnel::{
        config::{Framing, TunnelConfig},
        end::{Facts, Order},
        flow::Flow,
        leg::Leg,
        limits::Meter,
        pair::{LegId, Pair},
        registry::{Entry, RegistryGuard},
        report::{TunnelEnd, TunnelReport},
        track::{Guard, Track},
        traffic::Rtt,
    },
};

use super::{
    ending::{Ending, Sign},
    parts::TunnelParts,
    reattachment::Reattaching,
};

/// The tunnel without its alarm.
pub(super) struct Core {
    pub(super) legs: Pair<Leg>,
    /// The directions, each by the leg that it comes from.
    pub(super) flows: Pair<Flow>,
    pub(super) config: Arc<TunnelConfig>,
    pub(super) guard: RegistryGuard,
    pub(super) opened: Instant,
    /// The share of the maximum lifetime that this tunnel has.
    pub(super) lifetime_share: f32,
    /// Whether the task's waker is registered, if one task polls the tunnel.
    pub(super) is_registered: bool,
    /// Exists from the first sign of the end on.
    pub(super) ending: Option<Box<Ending>>,
    /// Present if the tunnel may get another upstream.
    pub(super) reattaching: Option<Box<Reattaching>>,
}

impl Core {
    pub(super) fn new(
        parts: TunnelParts,
        config: Arc<TunnelConfig>,
        guard: RegistryGuard,
        now: Instant,
    ) -> Self {
        let jitter_sample = fastrand::f32();
        let upstream = &guard.entry().info().upstream;
        let reattaching = parts
            .reattach
            .map(|reattach| Reattaching::new(reattach, Arc::clone(upstream)))
            .map(Box::new);
        let mut read_ahead = Pair::from([parts.client_read_ahead, parts.upstream_read_ahead]);
        let legs = Pair::from([parts.client, parts.upstream]);
        Self {
            flows: Pair::new(|from| {
                let track = track(&config, parts.extensions, from, now);
                let read_ahead = std::mem::take(&mut read_ahead[from]);
                Flow::new(track, read_ahead, now)
            }),
            legs: legs.map(|id, transport| Leg::new(id, transport, &config, jitter_sample, now)),
            guard,
            is_registered: false,
            opened: now,
            lifetime_share: random_share(config.lifetime_jitter),
            config,
            ending: None,
            reattaching,
        }
    }

    pub(super) fn entry(&self) -> &Arc<Entry> {
        self.guard.entry()
    }

    /// The next order of the state machine at this moment.
    pub(super) fn next_order(&mut self, now: Instant) -> Option<Order> {
        let Self {
            legs,
            flows,
            ending,
            config,
            ..
        } = self;
        let Ending { end, signs, .. } = &mut **ending.as_mut()?;
        let facts = |leg| facts(legs, flows, signs, leg);
        end.next(&config.bounds(), facts, now)
    }

    /// The moment at which an order is due, if nothing happens before.
    pub(super) fn end_deadline(&self) -> Option<Instant> {
        let Ending { end, signs, .. } = &**self.ending.as_ref()?;
        let facts = |leg| facts(&self.legs, &self.flows, signs, leg);
        end.deadline(&self.config.bounds(), facts)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.ending
            .as_ref()
            .is_some_and(|ending| ending.end.is_over())
    }

    /// Returns, once, whether the report can be made: the end is decided, which does not change
    /// any more, or the tunnel is over.
    pub(super) fn take_report_due(&mut self) -> bool {
        let Some(ending) = &mut self.ending else {
            return false;
        };
        let is_certain = ending.end.is_decided() || ending.end.is_over();
        is_certain && !std::mem::replace(&mut ending.is_reported, true)
    }

    pub(super) fn ending_mut(&mut self) -> &mut Ending {
        self.ending.get_or_insert_default()
    }

    /// Whether a ping of ours was answered in this poll.
    #[inline]
    pub(super) fn has_rtt_update(&self) -> bool {
        let mut pingers = self.legs.iter().filter_map(|leg| leg.pinger.as_ref());
        pingers.any(|pinger| pinger.has_rtt_update())
    }

    /// Round trips that were measured since the last call, by side.
    pub(super) fn take_rtt_updates(&mut self) -> [(Side, Option<Rtt>); 2] {
        LegId::BOTH.map(|leg| {
            let pinger = self.legs[leg].pinger.as_mut();
            let rtt = pinger.and_then(|pinger| pinger.take_rtt_update());
            (leg.into(), rtt)
        })
    }

    pub(super) fn report(&self) -> TunnelReport {
        let ending = self.ending.as_ref();
        let (end, initiator) = ending.map_or((TunnelEnd::Dropped, Side::Proxy), |ending| {
            ending.end.outcome()
        });
        TunnelReport {
            end,
            initiator,
            unanswered_close: ending
                .and_then(|ending| ending.end.unanswered())
                .map(Side::from),
            proxy_close: ending.and_then(|ending| ending.proxy_close),
            client_to_upstream: self.flows[LegId::Client].passed(),
            upstream_to_client: self.flows[LegId::Upstream].passed(),
            client_rtt: self.legs[LegId::Client].rtt(),
            upstream_rtt: self.legs[LegId::Upstream].rtt(),
            duration: self.opened.elapsed(),
            upstream_changes: self.upstream_changes(),
            reattach_refusal: self.reattach_refusal(),
        }
    }
}

/// The facts about a leg that the bounds of an end depend on.
fn facts(legs: &Pair<Leg>, flows: &Pair<Flow>, signs: &Pair<Sign>, leg: LegId) -> Facts {
    let (from, into) = (&flows[leg], &flows[leg.other()]);
    Facts {
        last_received: from.last_passed(),
        last_sent: into.last_taken(),
        stalled_since: into.stalled_since(),
        is_burdened: legs[leg].is_burdened() || signs[leg].was_burdened,
        is_unread: from.is_unread(),
        readable_since: signs[leg].unread_until,
    }
}

fn track(config: &TunnelConfig, extensions: Extensions, from: LegId, now: Instant) -> Track {
    let limits = config.limits[from];
    let rsv = match extensions {
        Extensions::None => Rsv::NONE,
        Extensions::Agreed | Extensions::Unknown => Rsv::ALL,
    };
    let rules = (config.framing == Framing::Enforce).then(|| match from {
        LegId::Client => Rules::client_to_upstream(rsv),
        LegId::Upstream => Rules::upstream_to_client(rsv),
    });
    match config.framing {
        Framing::Opaque => Track::opaque(),
        _ if rules.is_none() && limits.are_off() => Track::new(None),
        _ => Track::new(Some(Guard {
            rules,
            meter: Meter::new(limits, now),
        })),
    }
}

/// Returns a random share between `1 - jitter` and one.
pub(super) fn random_share(jitter: f64) -> f32 {
    let jitter = if jitter.is_nan() {
        0.0
    } else {
        jitter.clamp(0.0, 1.0)
    };
    #[allow(clippy::cast_possible_truncation)] // a random share needs no more digits
    let share = (1.0 - jitter * fastrand::f64()) as f32;
    share
}
