//! Core of a tunnel: polls both flows and acts on their events.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tokio::time::Instant;

use crate::{
    error::Side,
    frame::{Extensions, Rsv, Rules},
    tunnel::{
        config::{Framing, TunnelConfig},
        context::{Clock, FlowContext},
        flow::Flow,
        leg::Leg,
        limits::Meter,
        pair::{LegId, Pair},
        registry::{Command, Entry},
        report::{Rtt, TunnelEnd, TunnelReport},
        scratch::Scratch,
        track::{Guard, Track},
    },
};

use super::{TunnelParts, ending::Ending};

/// The tunnel without its alarm.
pub(super) struct Core {
    pub(super) legs: Pair<Leg>,
    /// The directions, each by the leg that it comes from.
    pub(super) flows: Pair<Flow>,
    pub(super) config: Arc<TunnelConfig>,
    pub(super) entry: Option<Arc<Entry>>,
    /// Whether the entry has the waker of the tunnel's task.
    pub(super) is_registered: bool,
    pub(super) opened: Instant,
    /// The share of the maximum lifetime that this tunnel has.
    pub(super) lifetime_share: f32,
    /// Exists from the first sign of the end on.
    pub(super) ending: Option<Box<Ending>>,
}

/// Whether something happened that may allow more to happen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Made,
    None,
}

impl Core {
    pub(super) fn new(
        parts: TunnelParts,
        config: Arc<TunnelConfig>,
        entry: Option<Arc<Entry>>,
        now: Instant,
    ) -> Self {
        let jitter_sample = fastrand::f32();
        let mut read_ahead = Pair::from([parts.client_read_ahead, parts.upstream_read_ahead]);
        let legs = Pair::from([parts.client, parts.upstream]);
        Self {
            flows: Pair::new(|from| {
                let track = track(&config, parts.extensions, from, now);
                let read_ahead = std::mem::take(&mut read_ahead[from]);
                Flow::new(track, read_ahead, now)
            }),
            legs: legs.map(|id, transport| Leg::new(id, transport, &config, jitter_sample, now)),
            entry,
            is_registered: false,
            opened: now,
            lifetime_share: random_share(config.lifetime_jitter),
            config,
            ending: None,
        }
    }

    /// Polls both flows once and acts on their events.
    pub(super) fn step(
        &mut self,
        task: &mut Context<'_>,
        scratch: &mut Scratch,
        clock: &mut Clock,
    ) -> Progress {
        let mut progress = self.apply_command(clock);
        for from in LegId::BOTH {
            let (source, sink) = self.legs.split_mut(from);
            let mut cx = FlowContext {
                task,
                clock,
                source,
                sink,
                sink_id: from.other(),
                max_buffered: self.config.max_buffered,
            };
            if let Poll::Ready(event) = self.flows[from].poll(&mut cx, scratch) {
                self.on_event(from, event, clock.now());
                progress = Progress::Made;
            }
        }
        progress
    }

    /// Registers the waker that a command wakes, once: for tunnels that a single task polls, whose
    /// waker stays the same.
    pub(super) fn register_waker(&mut self, cx: &Context<'_>) {
        if let Some(entry) = self.entry.as_ref().filter(|_| !self.is_registered) {
            entry.register(cx.waker());
            self.is_registered = true;
        }
    }

    fn apply_command(&mut self, clock: &mut Clock) -> Progress {
        let Some(command) = self.entry.as_ref().and_then(|entry| entry.take_command()) else {
            return Progress::None;
        };
        if matches!(command, Command::KeepOpen) {
            if let Some(ending) = &mut self.ending {
                ending.take_scheduled();
            }
            return Progress::Made;
        }
        match command.at() {
            Some(at) if at > clock.now() => self.ending_mut().schedule(at, command),
            _ => self.end_by_command(command, clock.now()),
        }
        Progress::Made
    }

    /// Makes the figures that changed visible to the registry.
    pub(super) fn publish(&mut self) {
        for id in LegId::BOTH {
            if !self.flows[id].take_unpublished() {
                continue;
            }
            let Some(entry) = &self.entry else { return };
            let (leg, flow) = (&self.legs[id], &self.flows[id]);
            let last_received = leg.last_received.saturating_duration_since(self.opened);
            entry.figures().publish(
                id.into(),
                flow.passed_bytes(),
                flow.track().counts().total(),
                last_received,
                leg.rtt(),
            );
        }
    }

    /// Whether a ping of ours was answered in this poll.
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
            client_to_upstream: self.flows[LegId::Client].passed(),
            upstream_to_client: self.flows[LegId::Upstream].passed(),
            client_rtt: self.legs[LegId::Client].rtt(),
            upstream_rtt: self.legs[LegId::Upstream].rtt(),
            duration: self.opened.elapsed(),
        }
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
