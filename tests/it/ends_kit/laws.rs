//! The invariants: those of every moment, and those of a tunnel that is over.

use tokio::time::Instant;
use wsplice::{
    TunnelReport,
    frame::CloseCode,
    tunnel::{DirectionStats, Framing, Side, Timer, TunnelEnd},
};

use crate::support::{
    clock::ms,
    sides::{SIDES, opposite},
};

use super::{
    ends::Ended,
    live::Live,
    plan::Settings,
    wire::{Place, Received, first_close},
    world::World,
};

/// When the tunnel saw the first sign of its end that came from this side.
fn sign(live: &Live, side: Side, settings: &Settings) -> Option<Instant> {
    let state = live.leg(side).far.state();
    let close = match settings.framing {
        Framing::Opaque => None,
        _ => first_close(&state.sent),
    };
    let closed = close.and_then(|close| state.read_at(close.ends_at));
    closed.into_iter().chain(state.end_seen).min()
}

/// The sides that gave the first sign: both if they gave theirs in the same moment.
fn first_sides(live: &Live, settings: &Settings) -> (Option<Instant>, Vec<Side>) {
    let signs = SIDES.map(|side| sign(live, side, settings));
    let first = signs.into_iter().flatten().min();
    let is_first = |side: &Side| sign(live, *side, settings) == first;
    let sides = SIDES.into_iter().filter(is_first);
    (first, first.map_or(Vec::new(), |_| sides.collect()))
}

/// Whether a tunnel that reads frames shows no sign of its end, and a close frame of the proxy would
/// be seen at once.
pub(super) fn is_quiet(live: &Live, settings: &Settings) -> bool {
    let can_be_seen = |side: Side| {
        let seen = live.received(side, settings);
        let state = live.leg(side).far.state();
        let has_room = state.room == usize::MAX && !state.holds_flushes;
        drop(state);
        has_room && seen.place == Place::Boundary && seen.own_close.is_none()
    };
    let has_sign = first_sides(live, settings).0.is_some();
    !has_sign && SIDES.into_iter().all(can_be_seen)
}

impl World {
    /// The invariants of every moment.
    pub(super) async fn check(&mut self) {
        self.check_drains().await;
        let ends = self.ends();
        for (number, live) in self.live.iter().enumerate() {
            let of_this: Vec<_> = ends.iter().filter(|end| end.tunnel == number).collect();
            let seen = SIDES.map(|side| live.received(side, &self.settings));
            assert_eq!(live.handle.is_over(), live.task.is_finished(), "the handle");
            let is_over = usize::from(live.task.is_finished());
            assert_eq!(of_this.len(), is_over, "ends");
            assert_eq!(live.shown().len(), is_over, "reports to the host");
            match of_this.first() {
                None => self.check_bound(live),
                Some(ended) => check_end(live, ended, &seen, &self.settings),
            }
        }
        let open = self.live.len() - ends.len();
        assert_eq!(self.registry.count(), open, "the registry's count");
        assert_eq!(self.registry.list().len(), open, "the registry's list");
        assert_eq!(self.leases(), open, "leases");
    }

    /// A tunnel that has a sign of its end must be over within its bounds.
    fn check_bound(&self, live: &Live) {
        let commanded = live.first_command().map(|(_, at)| at);
        let has_sign = first_sides(live, &self.settings).0.is_some();
        let since = match (commanded, has_sign) {
            (_, true) => live.touched,
            (Some(at), false) => at.max(live.touched),
            (None, false) => return,
        };
        let late = Instant::now().saturating_duration_since(since);
        let bound = self.settings.bound() + live.pauses(&self.settings);
        assert!(late <= bound, "not over after {late:?}");
    }

    /// A drain that is over has counted the tunnels that ended meanwhile.
    async fn check_drains(&mut self) {
        let mut running = Vec::new();
        for drain in std::mem::take(&mut self.drains) {
            if !drain.task.is_finished() {
                // Those that are cut off have a second for their reports.
                assert!(
                    drain.began.elapsed() <= drain.deadline + ms(1100),
                    "a drain"
                );
                running.push(drain);
                continue;
            }
            let (drained, took, ended) = drain.task.await.expect("a drain panicked");
            assert_eq!(drained.closed + drained.aborted, ended.len(), "{drained:?}");
            // A leg that ends in order is shut down before it is dropped, and answers a close. A leg
            // that its far end reset may count either way.
            let was_cut = |ended: &&Ended, by_reset: bool| {
                let live = &self.live[ended.tunnel];
                let is_lost = |side| {
                    let far = live.leg(side).far.state();
                    !far.was_shut && far.reset == by_reset
                };
                let has_answered = |report: &TunnelReport| report.unanswered_close.is_none();
                !ended.report.as_ref().is_some_and(has_answered)
                    || live.was_aborted
                    || SIDES.into_iter().any(is_lost)
            };
            // Some ends cut a leg that was shut down before: also that of a side which stayed silent
            // after the other one had closed.
            let broke = |ended: &&Ended| {
                let orderly = [TunnelEnd::Closed, TunnelEnd::Drained, TunnelEnd::Requested];
                let end = ended.report.as_ref().map(|report| &report.end);
                let live = &self.live[ended.tunnel];
                let is_silent = |side| live.leg(side).far.state().is_silent();
                !end.is_some_and(|end| orderly.contains(end)) || SIDES.into_iter().any(is_silent)
            };
            let cut = ended.iter().filter(|ended| was_cut(ended, false)).count();
            let lost = ended
                .iter()
                .filter(|ended| was_cut(ended, false) || was_cut(ended, true) || broke(ended))
                .count();
            assert!(drained.aborted >= cut, "{drained:?} {ended:?}");
            // At its deadline a drain cuts off the tunnels of all drains.
            if self.cuts_from.is_some_and(|cut| drain.began + took < cut) {
                assert!(drained.aborted <= lost, "{drained:?} {ended:?}");
            }
        }
        self.drains = running;
    }
}

/// The report of a tunnel agrees with the wire.
fn check_end(live: &Live, ended: &Ended, seen: &[Received; 2], settings: &Settings) {
    for side in SIDES {
        let is_dropped = live.leg(side).far.state().dropped_at.is_some();
        assert!(is_dropped, "the {side} is held");
    }
    let shown = live.shown();
    let [report] = &shown[..] else {
        panic!("reports to the host: {shown:?}");
    };
    check_returned(live, ended, report);
    match report.end {
        TunnelEnd::Dropped => check_dropped(live, report, settings),
        _ => check_blame(live, report, settings),
    }
    let is_wrong = live.is_spared && report.end == TunnelEnd::Drained;
    assert!(!is_wrong, "closed by a drain that was called off");
    assert!(report.duration <= live.opened.elapsed());
    for (side, seen) in SIDES.into_iter().zip(seen) {
        let stats = match side {
            Side::Client => &report.upstream_to_client,
            _ => &report.client_to_upstream,
        };
        check_direction(live, side, seen, stats, settings);
    }
    let [client, upstream] = seen;
    let both_closed = client.has_relayed_close && upstream.has_relayed_close;
    let was_run = ended.report.is_some();
    if was_run
        && both_closed
        && report.end == TunnelEnd::Closed
        && report.unanswered_close.is_none()
    {
        for side in SIDES {
            let state = live.leg(side).far.state();
            let is_broken = state.end_seen.is_some();
            assert!(state.was_shut || is_broken, "the {side} was not shut");
        }
    }
}

/// The tunnel returned the report that its host was shown, unless it was dropped.
fn check_returned(live: &Live, ended: &Ended, shown: &TunnelReport) {
    let Some(returned) = &ended.report else {
        assert!(live.was_dropped, "no report");
        return;
    };
    assert_eq!(returned.end, shown.end);
    assert_eq!(returned.initiator, shown.initiator);
    assert_eq!(returned.duration, shown.duration);
}

/// A tunnel that was dropped reports that as its end only where none had begun.
fn check_dropped(live: &Live, report: &TunnelReport, settings: &Settings) {
    assert!(live.was_dropped, "{report:?}");
    assert_eq!(report.initiator, Side::Proxy);
    let has_sign = first_sides(live, settings).0.is_some();
    // A close that was read in a pause counts only when the pause is over.
    assert!(!has_sign || settings.has_pauses(), "{report:?}");
}

/// The figures of the bytes to this side.
fn check_direction(
    live: &Live,
    to: Side,
    seen: &Received,
    stats: &DirectionStats,
    settings: &Settings,
) {
    let state = live.leg(to).far.state();
    let source = live.leg(opposite(to)).far.state();
    let passed = seen.theirs as u64;
    assert!(
        stats.bytes + seen.doubtful as u64 >= passed,
        "to the {to}: {stats:?}, {passed} came"
    );
    assert!(
        stats.bytes <= source.read_len() as u64,
        "to the {to}: {stats:?}"
    );
    if state.was_shut {
        assert_eq!(stats.bytes, passed, "to the {to}, which was ended in order");
        assert_ne!(seen.place, Place::InOwnFrame, "to the {to}");
    }
    if seen.own_close.is_some() {
        assert!(!seen.has_relayed_close, "two close frames to the {to}");
    }
    if settings.framing == Framing::Opaque {
        assert!(stats.close.is_none() && stats.opaque);
        return;
    }
    let sent = first_close(&source.sent);
    let sent = sent.filter(|close| source.read_at(close.ends_at).is_some());
    match &stats.close {
        Some(close) => {
            let sent = sent.expect("a close frame that was not sent");
            assert_eq!(close.code.map(CloseCode::as_u16), sent.code, "to the {to}");
        }
        None => assert!(
            !seen.has_relayed_close,
            "a close frame to the {to} is not reported"
        ),
    }
    assert!(stats.frames.close >= u64::from(seen.has_relayed_close));
}

/// The initiator is the side that gave the first sign, or the proxy.
fn check_blame(live: &Live, report: &TunnelReport, settings: &Settings) {
    let (first, sides) = first_sides(live, settings);
    let initiator = report.initiator;
    // A close that was read in a pause counts only when the pause is over.
    let was_first = sides.contains(&initiator) || settings.has_pauses() && !sides.is_empty();
    match &report.end {
        TunnelEnd::Closed
        | TunnelEnd::ClosedWithoutFrame(_)
        | TunnelEnd::TruncatedFrame(_)
        | TunnelEnd::Broken(..)
        | TunnelEnd::Timeout(Timer::CloseHandshake | Timer::HalfClose, _) => {
            assert!(was_first, "{report:?}");
        }
        TunnelEnd::Requested
        | TunnelEnd::Drained
        | TunnelEnd::Timeout(Timer::Idle | Timer::MaxLifetime, _) => {
            assert!(initiator == Side::Proxy || was_first, "{report:?}");
        }
        TunnelEnd::Violation(_, side)
        | TunnelEnd::Limit(_, side)
        | TunnelEnd::Timeout(Timer::Pong | Timer::Write | Timer::Frame, side) => {
            assert!(initiator == *side || was_first, "{report:?}");
        }
        end => panic!("an end of no tunnel that ran: {end:?}"),
    }
    if let (TunnelEnd::Requested, Some(first), Some((commanded, _))) =
        (&report.end, first, live.first_command())
    {
        assert!(first >= commanded || was_first, "{report:?}");
    }
}
