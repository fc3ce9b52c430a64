//! The core of a tunnel: both flows polled, and what they say acted on.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tokio::time::Instant;

use crate::{
    error::Side,
    frame::{Extensions, Rsv, Rules},
    tunnel::registry::{Command, Entry},
    tunnel::report::{Rtt, TunnelEnd, TunnelReport},
};

use super::{
    TunnelParts,
    ending::{Ending, Scheduled},
};
use crate::tunnel::{
    clock::Clock,
    config::{Framing, TunnelConfig},
    flow::{Event, Flow},
    leg::Leg,
    limits::Meter,
    scratch::Scratch,
    track::{Breach, Guard, Track},
};

/// Everything but the alarm.
pub(super) struct Core {
    pub(super) client: Leg,
    pub(super) upstream: Leg,
    pub(super) client_to_upstream: Flow,
    pub(super) upstream_to_client: Flow,
    pub(super) config: Arc<TunnelConfig>,
    pub(super) entry: Option<Arc<Entry>>,
    /// Whether the entry knows whom to wake.
    pub(super) is_registered: bool,
    pub(super) opened: Instant,
    /// The share of the maximum lifetime that this tunnel has.
    pub(super) lifetime_share: f32,
    /// The side that sent the first close frame.
    pub(super) closer: Option<Side>,
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
        let track = |from: Side| track(&config, parts.extensions, from, now);
        Self {
            client_to_upstream: Flow::new(
                Side::Upstream,
                track(Side::Client),
                parts.client_read_ahead.into(),
                now,
            ),
            upstream_to_client: Flow::new(
                Side::Client,
                track(Side::Upstream),
                parts.upstream_read_ahead.into(),
                now,
            ),
            client: Leg::new(Side::Client, parts.client, &config, dice, now),
            upstream: Leg::new(Side::Upstream, parts.upstream, &config, dice, now),
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
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        clock: &mut Clock,
    ) -> Progress {
        let mut progress = self.obey(clock);
        let up =
            self.client_to_upstream
                .poll(cx, &mut self.client, &mut self.upstream, scratch, clock);
        if let Poll::Ready(event) = up {
            self.on_event(Side::Client, event, clock.now());
            progress = Progress::Made;
        }
        let down =
            self.upstream_to_client
                .poll(cx, &mut self.upstream, &mut self.client, scratch, clock);
        if let Poll::Ready(event) = down {
            self.on_event(Side::Upstream, event, clock.now());
            progress = Progress::Made;
        }
        if self.closer.is_none() && self.first_end().is_none() {
            self.closer = self.find_closer();
        }
        match self.settle() {
            Progress::Made => Progress::Made,
            Progress::None => progress,
        }
    }

    pub(super) fn find_closer(&self) -> Option<Side> {
        if self.client_to_upstream.track().has_closed() {
            return Some(Side::Client);
        }
        self.upstream_to_client
            .track()
            .has_closed()
            .then_some(Side::Upstream)
    }

    fn on_event(&mut self, source: Side, event: Event, now: Instant) {
        match event {
            Event::Done => {}
            Event::Ended => self.on_source_ended(source, now),
            // After its close frame a side may leave as it likes (RFC 6455 §7.1.1).
            Event::SourceFailed(_) if self.flow_from(source).track().has_closed() => {
                self.on_source_ended(source, now);
            }
            Event::SourceFailed(kind) => {
                // The other side's close frame may have made it leave, if rudely.
                let initiator = self.find_closer().unwrap_or(source);
                self.end(TunnelEnd::Broken(source, kind), initiator, now);
            }
            // What the broken side sent before may still be on its way: its own direction tells.
            Event::SinkFailed(kind) => {
                let sink = source.opposite();
                self.ending_mut().broken.get_or_insert((sink, kind));
                let from_sink = self.flow_from(sink);
                if !from_sink.source_has_ended() {
                    self.note_first_end(sink, now);
                } else if !from_sink.track().has_closed() {
                    self.end(TunnelEnd::Broken(sink, kind), sink, now);
                }
            }
            Event::Breach(Breach::Limit(limit)) => {
                self.end(TunnelEnd::Limit(limit, source), source, now);
            }
            Event::Breach(Breach::Violation(violation)) => {
                self.end(TunnelEnd::Violation(violation, source), source, now);
            }
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.client_to_upstream.sink_is_done() && self.upstream_to_client.sink_is_done()
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
        if matches!(command, Command::KeepOpen) {
            if let Some(ending) = &mut self.ending {
                ending.scheduled = None;
            }
            return Progress::Made;
        }
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
        for side in [Side::Client, Side::Upstream] {
            if !self.flow_from_mut(side).take_news() {
                continue;
            }
            let Some(entry) = &self.entry else { return };
            let (leg, flow) = (self.leg(side), self.flow_from(side));
            let heard = leg.last_received.saturating_duration_since(self.opened);
            entry.figures().publish(
                side,
                flow.passed_bytes(),
                flow.track().counts().total(),
                heard,
                leg.rtt(),
            );
        }
    }

    /// Whether a ping of ours was answered in this poll.
    pub(super) fn was_answered(&self) -> bool {
        let legs = [&self.client, &self.upstream];
        let mut pingers = legs.into_iter().filter_map(|leg| leg.pinger.as_ref());
        pingers.any(|pinger| pinger.has_news())
    }

    /// Round trips that were measured since the last call, by side.
    pub(super) fn take_pongs(&mut self) -> [(Side, Option<Rtt>); 2] {
        [Side::Client, Side::Upstream].map(|side| {
            let pinger = self.leg_mut(side).pinger.as_mut();
            (side, pinger.and_then(|pinger| pinger.take_news()))
        })
    }

    pub(super) fn report(&self) -> TunnelReport {
        let (end, initiator) = self.outcome();
        TunnelReport {
            end,
            initiator,
            unanswered_close: self.ending.as_ref().and_then(|ending| ending.unanswered),
            client_to_upstream: self.client_to_upstream.passed(),
            upstream_to_client: self.upstream_to_client.passed(),
            client_rtt: self.client.rtt(),
            upstream_rtt: self.upstream.rtt(),
            duration: self.opened.elapsed(),
        }
    }

    /// The direction that this side speaks in.
    pub(super) fn flow_from(&self, side: Side) -> &Flow {
        match side {
            Side::Client => &self.client_to_upstream,
            Side::Upstream | Side::Proxy => &self.upstream_to_client,
        }
    }

    pub(super) fn flow_from_mut(&mut self, side: Side) -> &mut Flow {
        match side {
            Side::Client => &mut self.client_to_upstream,
            Side::Upstream | Side::Proxy => &mut self.upstream_to_client,
        }
    }

    pub(super) fn leg(&self, side: Side) -> &Leg {
        match side {
            Side::Client => &self.client,
            Side::Upstream | Side::Proxy => &self.upstream,
        }
    }

    pub(super) fn leg_mut(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            Side::Upstream | Side::Proxy => &mut self.upstream,
        }
    }
}

fn track(config: &TunnelConfig, extensions: Extensions, from: Side, now: Instant) -> Track {
    let limits = match from {
        Side::Client => config.client_limits,
        Side::Upstream | Side::Proxy => config.upstream_limits,
    };
    let rsv = match extensions {
        Extensions::None => Rsv::NONE,
        Extensions::Agreed | Extensions::Unknown => Rsv::ALL,
    };
    let rules = (config.framing == Framing::Enforce).then(|| match from {
        Side::Client => Rules::client_to_upstream(rsv),
        Side::Upstream | Side::Proxy => Rules::upstream_to_client(rsv),
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
