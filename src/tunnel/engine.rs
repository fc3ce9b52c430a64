//! The tunnel: two legs, two flows, one alarm.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    error::Side,
    frame::{ControlFrame, Rsv, Rules},
    handshake::Extensions,
    later::{FAR, later},
    registry::{Command, Entry},
    report::{Timer, TunnelEnd, TunnelReport},
    transport::Transport,
};

use super::{
    alarm::Alarm,
    clock::Clock,
    close::{Farewell, farewell},
    config::{Framing, TunnelConfig},
    flow::{Event, Flow},
    keep_alive::Action,
    leg::{Leg, encode_for},
    limits::Meter,
    scratch::Scratch,
    track::{Breach, Guard, Track},
};

/// Two byte streams spliced into one connection, both past their opening handshakes.
///
/// A future that moves bytes both ways until both directions have ended, and then tells how
/// it went. It never decodes a payload: it follows frame headers, so that pings and closes of
/// its own come to stand between frames. While nothing passes it holds no buffer.
///
/// Use it by itself where you do the handshakes yourself; [`ProxyLayer`](crate::ProxyLayer)
/// runs one for each upgrade.
///
/// # Cancellation
///
/// Dropping it closes both connections where they stand, without a close frame.
///
/// # Examples
///
/// ```
/// use wsplice::{KeepAlive, Transport, Tunnel, TunnelConfig};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let (client, far_client) = tokio::io::duplex(1024);
/// # let (upstream, far_upstream) = tokio::io::duplex(1024);
/// # drop((far_client, far_upstream));
/// let config = TunnelConfig::new().keep_alive(KeepAlive::default());
/// let report = Tunnel::new(Transport::new(client), Transport::new(upstream))
///     .config(config)
///     .await;
/// println!("{} after {:?}", report.end, report.duration);
/// # }
/// ```
#[must_use = "a tunnel moves nothing unless it is polled"]
pub struct Tunnel {
    core: Core,
    alarm: Alarm,
}

/// Everything but the alarm.
struct Core {
    client: Leg,
    upstream: Leg,
    client_to_upstream: Flow,
    upstream_to_client: Flow,
    config: Arc<TunnelConfig>,
    entry: Option<Arc<Entry>>,
    /// Whether the entry knows whom to wake.
    is_registered: bool,
    opened: Instant,
    /// The share of the maximum lifetime that this tunnel has.
    lifetime_share: f32,
    /// The side that sent the first close frame.
    closer: Option<Side>,
    /// Exists from the first sign of the end, other than a close frame, on.
    ending: Option<Box<Ending>>,
}

/// What is known of the end while the tunnel comes to it.
#[derive(Default)]
struct Ending {
    /// A close that was asked for, and when it is to begin.
    scheduled: Option<Scheduled>,
    /// Set once the proxy itself ends the tunnel: when it stops waiting for the sides.
    closing: Option<Instant>,
    verdict: Option<Verdict>,
    /// The side that ended first, whether in the middle of a frame, and when.
    first_end: Option<FirstEnd>,
    /// A side that takes no more bytes because its connection broke.
    broken: Option<(Side, std::io::ErrorKind)>,
}

struct Scheduled {
    at: Instant,
    command: Command,
}

struct Verdict {
    end: TunnelEnd,
    initiator: Side,
}

struct FirstEnd {
    side: Side,
    end: TunnelEnd,
    at: Instant,
}

/// Whether something happened that may allow more to happen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Made,
    None,
}

impl Tunnel {
    /// Joins two streams, with the default settings.
    ///
    /// # Panics
    ///
    /// When called outside a tokio runtime with its timer on.
    pub fn new(client: impl Into<Transport>, upstream: impl Into<Transport>) -> Self {
        let parts = TunnelParts {
            client: client.into(),
            client_read_ahead: Bytes::new(),
            upstream: upstream.into(),
            upstream_read_ahead: Bytes::new(),
            extensions: Extensions::Unknown,
        };
        Self::from_parts(parts, Arc::new(TunnelConfig::new()), None)
    }

    /// The settings. Call it before the first poll; later it starts the tunnel's clocks anew.
    pub fn config(self, config: TunnelConfig) -> Self {
        let core = self.core;
        let parts = TunnelParts {
            client_read_ahead: core.client_to_upstream.into_held(),
            client: core.client.transport,
            upstream_read_ahead: core.upstream_to_client.into_held(),
            upstream: core.upstream.transport,
            extensions: Extensions::Unknown,
        };
        Self::from_parts(parts, Arc::new(config), core.entry)
    }

    /// Bytes of the client that were read behind its opening handshake.
    pub fn client_read_ahead(mut self, bytes: &[u8]) -> Self {
        self.core.client_to_upstream.read_again(bytes);
        self
    }

    /// Bytes of the upstream that were read behind its 101.
    pub fn upstream_read_ahead(mut self, bytes: &[u8]) -> Self {
        self.core.upstream_to_client.read_again(bytes);
        self
    }

    pub(crate) fn from_parts(
        parts: TunnelParts,
        config: Arc<TunnelConfig>,
        entry: Option<Arc<Entry>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            core: Core::new(parts, config, entry, now),
            alarm: Alarm::default(),
        }
    }

    /// Bytes that the tunnel holds in memory at this moment, both directions together: those that
    /// a stalled side has not taken, and the beginning of a frame that waits for its rest.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.core.client_to_upstream.buffered() + self.core.upstream_to_client.buffered()
    }
}

/// What a tunnel is made of.
pub(crate) struct TunnelParts {
    pub(crate) client: Transport,
    pub(crate) client_read_ahead: Bytes,
    pub(crate) upstream: Transport,
    pub(crate) upstream_read_ahead: Bytes,
    pub(crate) extensions: Extensions,
}

impl Future for Tunnel {
    type Output = TunnelReport;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TunnelReport> {
        let Self { core, alarm } = self.get_mut();
        let mut scratch = Scratch::take();
        let mut clock = Clock::default();
        core.listen(cx);
        loop {
            if core.step(cx, &mut scratch, &mut clock) == Progress::Made {
                continue;
            }
            if core.is_finished() {
                core.tell_pongs();
                core.publish();
                return Poll::Ready(core.report());
            }
            let Some(deadline) = core.deadline() else {
                break;
            };
            if alarm.poll_until(cx, deadline).is_pending() {
                break;
            }
            clock = Clock::default();
            core.on_time(clock.now());
        }
        core.tell_pongs();
        core.publish();
        Poll::Pending
    }
}

impl Core {
    fn new(
        parts: TunnelParts,
        config: Arc<TunnelConfig>,
        entry: Option<Arc<Entry>>,
        now: Instant,
    ) -> Self {
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
            client: Leg::new(Side::Client, parts.client, &config, now),
            upstream: Leg::new(Side::Upstream, parts.upstream, &config, now),
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
    fn step(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, clock: &mut Clock) -> Progress {
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

    fn find_closer(&self) -> Option<Side> {
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
            Event::SourceFailed(kind) => self.end(TunnelEnd::Broken(source, kind), source, now),
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

    /// A side ended in order. The other side may still speak (RFC 6455 §7.1.1 lets the server
    /// end first), so the end is passed on and the other direction goes on, for a while.
    fn on_source_ended(&mut self, side: Side, now: Instant) {
        if let Some((_, kind)) = self.broken().filter(|(broken, _)| *broken == side) {
            if !self.flow_from(side).track().has_closed() {
                return self.end(TunnelEnd::Broken(side, kind), side, now);
            }
            // Sent before the connection broke, and only read after it.
            self.closer.get_or_insert(side);
        }
        self.note_first_end(side, now);
        if self.closing().is_some() {
            return;
        }
        let ended_first = self.first_end().map(|first| first.side) == Some(side);
        let lost_without_a_word = side == Side::Upstream
            && ended_first
            && self.closer.is_none()
            && self.find_closer().is_none()
            && self.flow_from(side).sink_at_boundary();
        if lost_without_a_word {
            let end = TunnelEnd::Gone(side);
            let words = self
                .config
                .worded(&end, Side::Client, farewell(&end, Side::Client));
            self.ending_mut().verdict.get_or_insert(Verdict {
                end,
                initiator: side,
            });
            if let Farewell::Close(frame) = words {
                let frame = ControlFrame::close(frame.code, &frame.reason);
                let frame = encode_for(Side::Client, &frame);
                return self.upstream_to_client.close(frame);
            }
        }
        self.flow_from_mut(side).shut_down();
    }

    fn note_first_end(&mut self, side: Side, now: Instant) {
        if self.first_end().is_some() {
            return;
        }
        // What is said after the first end, to our close frame perhaps, makes it no clean one.
        self.closer = self.closer.or_else(|| self.find_closer());
        let flow = self.flow_from(side);
        let end = if flow.sink_at_boundary() || flow.track().is_opaque() {
            TunnelEnd::Gone(side)
        } else {
            TunnelEnd::CutFrame(side)
        };
        self.ending_mut().first_end = Some(FirstEnd { side, end, at: now });
    }

    /// Ends the tunnel on the proxy's own account, with the farewells that the reason calls for.
    fn end(&mut self, end: TunnelEnd, initiator: Side, now: Instant) {
        // The first reason has said its farewells. A leg that breaks on the way out must not take
        // the other one's close frame with it.
        if self.closing().is_some() {
            return;
        }
        let client = self
            .config
            .worded(&end, Side::Client, farewell(&end, Side::Client));
        let upstream = self
            .config
            .worded(&end, Side::Upstream, farewell(&end, Side::Upstream));
        self.end_with(end, initiator, client, upstream, now);
    }

    fn end_with(
        &mut self,
        end: TunnelEnd,
        initiator: Side,
        client: Farewell,
        upstream: Farewell,
        now: Instant,
    ) {
        let give_up_at = later(now, self.config.close_timeout);
        let ending = self.ending_mut();
        ending.verdict.get_or_insert(Verdict { end, initiator });
        ending.closing.get_or_insert(give_up_at);
        let farewells = [(Side::Client, client), (Side::Upstream, upstream)];
        // Aborts first: a leg that is gone can bring the other to no frame boundary.
        for (side, farewell) in &farewells {
            if *farewell == Farewell::Abort {
                self.abort(*side);
            }
        }
        for (side, farewell) in farewells {
            if let Farewell::Close(frame) = farewell {
                self.close(side, &ControlFrame::close(frame.code, &frame.reason));
            }
        }
    }

    fn close(&mut self, side: Side, frame: &ControlFrame) {
        let frame = encode_for(side, frame);
        let flow = self.flow_from_mut(side.opposite());
        if flow.can_close() {
            flow.close(frame);
        } else if flow.track().is_opaque() {
            // No frame can be put here, but an orderly end can.
            flow.shut_down();
        } else {
            self.abort(side);
        }
    }

    /// Gives a leg up: nothing more goes to it or comes from it.
    fn abort(&mut self, side: Side) {
        self.flow_from_mut(side.opposite()).abandon_sink();
        self.flow_from_mut(side).abandon_source();
        match side {
            Side::Client => self.client.transport.abort_on_drop(),
            Side::Upstream | Side::Proxy => self.upstream.transport.abort_on_drop(),
        }
    }

    /// Moves each leg on to its orderly end once nothing more is to be said on it.
    fn settle(&mut self) -> Progress {
        let mut progress = Progress::None;
        for side in [Side::Client, Side::Upstream] {
            let into = self.flow_from(side.opposite());
            let answered = self.flow_from(side).source_is_finished();
            if into.sink_is_closing() && !into.can_close() {
                self.abort(side);
                progress = Progress::Made;
            } else if into.sink_is_closed()
                && (answered || into.source_has_ended() && self.closing().is_none())
            {
                self.flow_from_mut(side.opposite()).shut_down();
                progress = Progress::Made;
            }
        }
        progress
    }

    fn scheduled_at(&self) -> Option<Instant> {
        Some(self.ending.as_ref()?.scheduled.as_ref()?.at)
    }

    fn closing(&self) -> Option<Instant> {
        self.ending.as_ref()?.closing
    }

    fn first_end(&self) -> Option<&FirstEnd> {
        self.ending.as_ref()?.first_end.as_ref()
    }

    fn broken(&self) -> Option<(Side, std::io::ErrorKind)> {
        self.ending.as_ref()?.broken
    }

    fn ending_mut(&mut self) -> &mut Ending {
        self.ending.get_or_insert_default()
    }

    fn is_finished(&self) -> bool {
        self.client_to_upstream.sink_is_done() && self.upstream_to_client.sink_is_done()
    }

    /// The earliest moment at which something is due.
    fn deadline(&self) -> Option<Instant> {
        if self.closing().is_some() {
            return self.closing();
        }
        let mut earliest = Earliest(None);
        earliest.at(self.expires());
        earliest.at(self.scheduled_at());
        earliest.at(self.linger_deadline());
        earliest.at(self.idle_deadline());
        for side in [Side::Client, Side::Upstream] {
            earliest.at(self.keep_alive_deadline(side));
        }
        for flow in [&self.client_to_upstream, &self.upstream_to_client] {
            earliest.at(self.stall_deadline(flow));
        }
        earliest.0
    }

    fn expires(&self) -> Option<Instant> {
        let lifetime = self.config.max_lifetime?;
        Some(self.opened + lifetime.min(FAR).mul_f32(self.lifetime_share))
    }

    fn idle_deadline(&self) -> Option<Instant> {
        let [up, down] = [&self.client_to_upstream, &self.upstream_to_client];
        let passed = up.last_passed().max(down.last_passed());
        Some(later(passed, self.config.idle_timeout?))
    }

    fn linger_deadline(&self) -> Option<Instant> {
        let first = self.first_end()?;
        let open = self.flow_from(first.side.opposite());
        let passed = first.at.max(open.last_passed());
        Some(later(passed, self.config.linger?))
    }

    fn keep_alive_deadline(&self, side: Side) -> Option<Instant> {
        let flow = self.flow_from(side);
        // What is not read is not missed: a side that has ended cannot answer, and the answer of
        // one whose bytes the other does not take waits behind them.
        if flow.source_has_ended() || flow.stalled_since().is_some() {
            return None;
        }
        let leg = self.leg(side);
        leg.pinger.as_ref()?.deadline(leg.last_received)
    }

    fn stall_deadline(&self, flow: &Flow) -> Option<Instant> {
        Some(later(flow.stalled_since()?, self.config.write_stall?))
    }

    /// The alarm went off: does what is due.
    fn on_time(&mut self, now: Instant) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if due(self.closing()) {
            return self.give_up();
        }
        if due(self.scheduled_at()) {
            if let Some(scheduled) = self.ending_mut().scheduled.take() {
                return self.end_by_command(scheduled.command, now);
            }
        }
        for (source, stalled) in [
            (Side::Client, Side::Upstream),
            (Side::Upstream, Side::Client),
        ] {
            if due(self.stall_deadline(self.flow_from(source))) {
                return self.end(TunnelEnd::Timeout(Timer::WriteStall, stalled), stalled, now);
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
        for side in [Side::Client, Side::Upstream] {
            if due(self.keep_alive_deadline(side)) && self.leg_mut(side).tick(now) == Action::Dead {
                return self.end(TunnelEnd::Timeout(Timer::Pong, side), side, now);
            }
        }
    }

    /// The sides did not answer our close frames in time.
    fn give_up(&mut self) {
        for side in [Side::Client, Side::Upstream] {
            if !self.flow_from(side.opposite()).sink_is_done() {
                self.abort(side);
            }
        }
    }

    /// Nothing more came after one direction's end. What is left is dropped as it stands.
    fn end_linger(&mut self, now: Instant) {
        if let Some((side, kind)) = self.broken() {
            return self.end(TunnelEnd::Broken(side, kind), side, now);
        }
        let Some(initiator) = self.first_end().map(|first| first.side) else {
            return;
        };
        // A lost upstream stays the reason, whatever the client makes of it.
        if self.closer.is_none() && initiator == Side::Client {
            let end = TunnelEnd::Timeout(Timer::Linger, Side::Upstream);
            let verdict = Verdict { end, initiator };
            self.ending_mut().verdict.get_or_insert(verdict);
        }
        self.client_to_upstream.abandon();
        self.upstream_to_client.abandon();
    }

    /// Tells the entry whom a command should wake. Only the proxy's own tunnels have an entry, and
    /// each of them is a task, whose waker is the same for its whole life.
    fn listen(&mut self, cx: &Context<'_>) {
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

    fn end_by_command(&mut self, command: Command, now: Instant) {
        let (end, farewell) = match command {
            Command::Close { frame, end, .. } => (end, Farewell::Close(frame)),
            Command::Abort { end } => {
                self.ending_mut().closing = Some(now);
                (end, Farewell::Abort)
            }
        };
        self.end_with(end, Side::Proxy, farewell.clone(), farewell, now);
    }

    /// Makes the figures visible to the registry.
    fn publish(&self) {
        let Some(entry) = &self.entry else { return };
        let figures = entry.figures();
        for side in [Side::Client, Side::Upstream] {
            let (leg, flow) = (self.leg(side), self.flow_from(side));
            let heard = leg.last_received.saturating_duration_since(self.opened);
            figures.publish(
                side,
                flow.passed_bytes(),
                flow.track().counts().total(),
                heard,
                leg.rtt(),
            );
        }
    }

    /// Tells the observer of round trips that were measured.
    fn tell_pongs(&mut self) {
        for side in [Side::Client, Side::Upstream] {
            let pinger = self.leg_mut(side).pinger.as_mut();
            let Some(rtt) = pinger.and_then(|pinger| pinger.take_news()) else {
                continue;
            };
            if let (Some(entry), Some(observer)) = (&self.entry, &self.config.observer) {
                observer.pong(entry.info(), side, rtt);
            }
        }
    }

    fn report(&self) -> TunnelReport {
        let (end, initiator) = self.outcome();
        TunnelReport {
            end,
            initiator,
            client_to_upstream: self.client_to_upstream.passed(),
            upstream_to_client: self.upstream_to_client.passed(),
            client_rtt: self.client.rtt(),
            upstream_rtt: self.upstream.rtt(),
            duration: self.opened.elapsed(),
        }
    }

    fn outcome(&self) -> (TunnelEnd, Side) {
        let verdict = self
            .ending
            .as_ref()
            .and_then(|ending| ending.verdict.as_ref());
        match (verdict, self.closer, self.first_end()) {
            (Some(verdict), ..) => (verdict.end.clone(), verdict.initiator),
            (None, Some(closer), _) => (TunnelEnd::Closed, closer),
            (None, None, Some(first)) => (first.end.clone(), first.side),
            (None, None, None) => (TunnelEnd::Dropped, Side::Proxy),
        }
    }

    /// The direction that this side speaks in.
    fn flow_from(&self, side: Side) -> &Flow {
        match side {
            Side::Client => &self.client_to_upstream,
            Side::Upstream | Side::Proxy => &self.upstream_to_client,
        }
    }

    fn flow_from_mut(&mut self, side: Side) -> &mut Flow {
        match side {
            Side::Client => &mut self.client_to_upstream,
            Side::Upstream | Side::Proxy => &mut self.upstream_to_client,
        }
    }

    fn leg(&self, side: Side) -> &Leg {
        match side {
            Side::Client => &self.client,
            Side::Upstream | Side::Proxy => &self.upstream,
        }
    }

    fn leg_mut(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            Side::Upstream | Side::Proxy => &mut self.upstream,
        }
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel")
            .field("client", &self.core.client.transport)
            .field("upstream", &self.core.upstream.transport)
            .field("opened", &self.core.opened)
            .finish_non_exhaustive()
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
fn share_less(jitter: f64) -> f32 {
    let jitter = if jitter.is_nan() {
        0.0
    } else {
        jitter.clamp(0.0, 1.0)
    };
    #[allow(clippy::cast_possible_truncation)] // chance needs no more digits
    let share = (1.0 - jitter * fastrand::f64()) as f32;
    share
}

#[cfg(test)]
mod tests;
