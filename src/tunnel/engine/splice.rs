//! The core of a tunnel: both flows polled, and what they say acted on.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tokio::time::Instant;

use crate::{
    error::Side,
    frame::{Rsv, Rules},
    http::handshake::Extensions,
    tunnel::registry::Entry,
    tunnel::report::{TunnelEnd, TunnelReport},
};

use super::{
    TunnelParts,
    ending::{Ending, Scheduled},
};
use crate::tunnel::{
    config::{Framing, TunnelConfig},
    context::{Clock, FlowContext},
    flow::{Event, Flow},
    leg::Leg,
    limits::Meter,
    pair::{LegId, Pair},
    scratch::Scratch,
    track::{Breach, Guard, Track},
};

/// Everything but the alarm.
pub(super) struct Core {
    pub(super) legs: Pair<Leg>,
    /// The directions, each by the leg that it comes from.
    pub(super) flows: Pair<Flow>,
    pub(super) config: Arc<TunnelConfig>,
    pub(super) entry: Option<Arc<Entry>>,
    /// Whether the entry knows whom to wake.
    pub(super) is_registered: bool,
    pub(super) opened: Instant,
    /// The share of the maximum lifetime that this tunnel has.
    pub(super) lifetime_share: f32,
    /// The side that sent the first close frame.
    pub(super) closer: Option<LegId>,
    /// Exists from the first sign of the end, other than a close frame, on.
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
        let dice = fastrand::f32();
        let mut read_ahead = Pair::from([parts.client_read_ahead, parts.upstream_read_ahead]);
        let legs = Pair::from([parts.client, parts.upstream]);
        Self {
            flows: Pair::new(|from| {
                let track = track(&config, parts.extensions, from, now);
                let read_ahead = std::mem::take(&mut read_ahead[from]);
                Flow::new(from.other(), track, read_ahead.into(), now)
            }),
            legs: legs.map(|id, transport| Leg::new(id, transport, &config, dice, now)),
            entry,
            is_registered: false,
            opened: now,
            lifetime_share: share_less(config.lifetime_jitter),
            config,
            closer: None,
            ending: None,
        }
    }

    /// Polls both flows once and acts on what they say.
    pub(super) fn step(
        &mut self,
        task: &mut Context<'_>,
        scratch: &mut Scratch,
        clock: &mut Clock,
    ) -> Progress {
        let mut progress = self.obey(clock);
        for from in LegId::BOTH {
            let (source, sink) = self.legs.split_mut(from);
            let mut cx = FlowContext {
                task,
                clock,
                source,
                sink,
            };
            if let Poll::Ready(event) = self.flows[from].poll(&mut cx, scratch) {
                self.on_event(from, event, clock.now());
                progress = Progress::Made;
            }
        }
        if self.closer.is_none() && self.first_end().is_none() {
            self.closer = self.find_closer();
        }
        match self.settle() {
            Progress::Made => Progress::Made,
            Progress::None => progress,
        }
    }

    pub(super) fn find_closer(&self) -> Option<LegId> {
        LegId::BOTH
            .into_iter()
            .find(|leg| self.flows[*leg].track().has_closed())
    }

    fn on_event(&mut self, source: LegId, event: Event, now: Instant) {
        match event {
            Event::Done => {}
            Event::Ended => self.on_source_ended(source, now),
            // After its close frame a side may leave as it likes (RFC 6455 §7.1.1).
            Event::SourceFailed(_) if self.flows[source].track().has_closed() => {
                self.on_source_ended(source, now);
            }
            Event::SourceFailed(kind) => {
                // The other side's close frame may have made it leave, if rudely.
                let initiator = self.find_closer().unwrap_or(source);
                self.end(
                    TunnelEnd::Broken(source.into(), kind),
                    initiator.into(),
                    now,
                );
            }
            // What the broken side sent before may still be on its way: its own direction tells.
            Event::SinkFailed(kind) => {
                let sink = source.other();
                self.ending_mut().broken.get_or_insert((sink, kind));
                let from_sink = &self.flows[sink];
                if !from_sink.source_has_ended() {
                    self.note_first_end(sink, now);
                } else if !from_sink.track().has_closed() {
                    self.end(TunnelEnd::Broken(sink.into(), kind), sink.into(), now);
                }
            }
            Event::Breach(Breach::Limit(limit)) => {
                self.end(TunnelEnd::Limit(limit, source.into()), source.into(), now);
            }
            Event::Breach(Breach::Violation(violation)) => {
                self.end(
                    TunnelEnd::Violation(violation, source.into()),
                    source.into(),
                    now,
                );
            }
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.flows.iter().all(Flow::sink_is_done)
    }

    /// Tells the entry whom a command should wake. Only the proxy's own tunnels have an entry, and
    /// each of them is a task, whose waker is the same for its whole life.
    pub(super) fn listen(&mut self, cx: &Context<'_>) {
        if let Some(entry) = self.entry.as_ref().filter(|_| !self.is_registered) {
            entry.register(cx.waker());
            self.is_registered = true;
        }
    }

    fn obey(&mut self, clock: &mut Clock) -> Progress {
        let Some(command) = self.entry.as_ref().and_then(|entry| entry.take_command()) else {
            return Progress::None;
        };
        match command.at() {
            Some(at) if at > clock.now() => {
                self.ending_mut().scheduled = Some(Scheduled { at, command });
            }
            _ => self.end_by_command(command, clock.now()),
        }
        Progress::Made
    }

    /// Makes the figures that changed visible to the registry.
    pub(super) fn publish(&mut self) {
        for id in LegId::BOTH {
            if !self.flows[id].take_news() {
                continue;
            }
            let Some(entry) = &self.entry else { return };
            let (leg, flow) = (&self.legs[id], &self.flows[id]);
            let heard = leg.last_received.saturating_duration_since(self.opened);
            entry.figures().publish(
                id.into(),
                flow.passed_bytes(),
                flow.track().counts().total(),
                heard,
                leg.rtt(),
            );
        }
    }

    /// Whether a ping of ours was answered in this poll.
    pub(super) fn was_answered(&self) -> bool {
        let mut pingers = self.legs.iter().filter_map(|leg| leg.pinger.as_ref());
        pingers.any(|pinger| pinger.has_news())
    }

    /// Tells the upstream and the observer of round trips that were measured.
    pub(super) fn tell_pongs(&mut self) {
        for id in LegId::BOTH {
            let pinger = self.legs[id].pinger.as_mut();
            let Some(rtt) = pinger.and_then(|pinger| pinger.take_news()) else {
                continue;
            };
            let Some(entry) = &self.entry else { continue };
            if id == LegId::Upstream {
                entry.sample_upstream(rtt);
            }
            if let Some(observer) = &self.config.observer {
                observer.pong(entry.info(), id.into(), rtt);
            }
        }
    }

    pub(super) fn report(&self) -> TunnelReport {
        let (end, initiator) = self.outcome();
        TunnelReport {
            end,
            initiator,
            unanswered_close: self
                .ending
                .as_ref()
                .and_then(|ending| ending.unanswered)
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

/// One, less a random share up to this one.
pub(super) fn share_less(jitter: f64) -> f32 {
    let jitter = if jitter.is_nan() {
        0.0
    } else {
        jitter.clamp(0.0, 1.0)
    };
    #[allow(clippy::cast_possible_truncation)] // chance needs no more digits
    let share = (1.0 - jitter * fastrand::f64()) as f32;
    share
}
