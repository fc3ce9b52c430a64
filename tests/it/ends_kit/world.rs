//! The tunnels of a case, their far ends and drains, and the steps done to them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use wsplice::{
    Drain, Drained, Framing, Registry, Side, Transport, Tunnel, TunnelConfig, TunnelHandle,
    TunnelInfo, TunnelReport,
    frame::{CloseCode, CloseFrame},
};

use crate::support::{
    clock::ms,
    frames::{close, pong},
    sides::{SIDES, from_side},
};

use super::{
    laws,
    pipe::{FarEnd, connection},
    plan::{At, Plan, Settings, Step},
    wire::{self, Received},
};

/// The code of the closes that are requested by the handle.
pub(super) const REQUESTED: u16 = 1012;

/// Everything of one case.
pub(super) struct World {
    pub(super) settings: Settings,
    config: Arc<TunnelConfig>,
    pub(super) registry: Registry,
    drain: Drain,
    pub(super) drains: Vec<RunningDrain>,
    /// The first deadline of a drain.
    pub(super) cuts_from: Option<Instant>,
    pub(super) live: Vec<Live>,
    ends: Arc<Ends>,
}

/// The ends of tunnels, as they come.
#[derive(Default)]
pub(super) struct Ends(Mutex<Vec<Ended>>);

/// One tunnel that is over: its number, and its report unless it was dropped.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(super) tunnel: usize,
    pub(crate) report: Option<TunnelReport>,
}

/// A drain that was started.
pub(super) struct RunningDrain {
    pub(super) began: Instant,
    pub(super) deadline: Duration,
    /// How it went, and the tunnels that ended meanwhile.
    pub(super) task: JoinHandle<(Drained, Duration, Vec<Ended>)>,
}

/// A tunnel from the outside.
pub(super) struct Live {
    pub(super) client: Leg,
    pub(super) upstream: Leg,
    pub(super) handle: TunnelHandle,
    pub(super) task: JoinHandle<()>,
    pub(super) opened: Instant,
    /// When the test last did something to the tunnel.
    pub(super) touched: Instant,
    /// When the first command came that ends the tunnel, and when the last such takes effect.
    pub(super) commanded: Option<(Instant, Instant)>,
    /// The same of the close that the handle can put off and call off.
    pub(super) closes_at: Option<(Instant, Instant)>,
    /// No drain may close the tunnel any more: the drain was called off before.
    pub(super) is_spared: bool,
    /// A drain was under way when the tunnel was opened, and no command has come since: its close is
    /// called off by a resume that comes before the tunnel acts on it.
    was_entered_in_drain: bool,
    pub(super) was_aborted: bool,
    pub(super) was_dropped: bool,
}

/// A far end, and the bytes that it has not sent yet.
pub(super) struct Leg {
    pub(super) far: FarEnd,
    kept: Vec<u8>,
    answered_pings: usize,
}

/// Reports the end of a tunnel's future, however it comes to it. Dropped behind the tunnel.
struct Witness {
    tunnel: usize,
    report: Option<TunnelReport>,
    ends: Arc<Ends>,
}

impl Witness {
    fn saw(&mut self, report: TunnelReport) {
        self.report = Some(report);
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let report = self.report.take();
        let tunnel = self.tunnel;
        self.ends.lock().push(Ended { tunnel, report });
    }
}

impl Ends {
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Ended>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    pub(super) fn new(plan: &Plan) -> Self {
        let registry = Registry::new();
        Self {
            settings: plan.settings.clone(),
            config: Arc::new(plan.settings.config()),
            drain: Drain::new(&registry),
            registry,
            drains: Vec::new(),
            cuts_from: None,
            live: Vec::new(),
            ends: Arc::default(),
        }
    }

    pub(super) fn ends(&self) -> Vec<Ended> {
        self.ends.lock().clone()
    }

    /// Does a step; those that wait let the tunnels run.
    pub(super) async fn step(&mut self, step: &Step) {
        match step {
            Step::Open => self.open(),
            Step::Wait(time) => sleep(*time).await,
            Step::Send(at, bytes, kept) => self.at(*at, |_, leg| leg.send(bytes, *kept)),
            Step::Flush(at) => self.at(*at, |_, leg| leg.send(&[], 0)),
            Step::Finish(at) => self.at(*at, |_, leg| leg.far.finish()),
            Step::Truncate(at, bytes) => self.at(*at, |_, leg| {
                leg.send(bytes, 0);
                leg.far.finish();
            }),
            Step::Reset(at) => self.at(*at, |_, leg| leg.far.reset()),
            Step::Room(at, room) => self.at(*at, |_, leg| leg.far.set_room(*room)),
            Step::HoldFlushes(at) => self.at(*at, |_, leg| leg.far.hold_flushes()),
            Step::Answer(at) => {
                let Some(live) = self.live.get(at.tunnel) else {
                    return;
                };
                let seen = live.received(at.side, &self.settings);
                self.at(*at, |side, leg| leg.answer(side, &seen));
            }
            Step::Close(tunnel) => {
                self.command(*tunnel, Duration::ZERO, |live| {
                    live.handle.close(requested());
                });
            }
            Step::CloseAt(tunnel, after) => {
                let at = Instant::now() + *after;
                self.reschedule(*tunnel, Some(at), |handle| handle.close_at(requested(), at));
            }
            Step::CancelClose(tunnel) => {
                self.reschedule(*tunnel, None, TunnelHandle::cancel_close_at);
            }
            Step::Abort(tunnel) => self.command(*tunnel, Duration::ZERO, |live| {
                live.was_aborted |= !live.handle.is_over();
                live.handle.abort();
            }),
            Step::Drop(tunnel) => self.command(*tunnel, Duration::ZERO, |live| {
                live.was_dropped |= !live.task.is_finished();
                live.task.abort();
            }),
            Step::Drain { spread, deadline } => self.start_drain(*spread, *deadline),
            Step::Resume => self.resume(),
        }
    }

    fn at(&mut self, at: At, act: impl FnOnce(Side, &mut Leg)) {
        if let Some(live) = self.live.get_mut(at.tunnel) {
            live.touched = Instant::now();
            act(at.side, live.leg_mut(at.side));
        }
    }

    fn command(&mut self, tunnel: usize, after: Duration, act: impl FnOnce(&mut Live)) {
        if let Some(live) = self.live.get_mut(tunnel) {
            let at = Instant::now() + after;
            live.commanded.get_or_insert((Instant::now(), at)).1 = at;
            live.was_entered_in_drain = false;
            live.touched = Instant::now();
            act(live);
        }
    }

    /// Replaces the close of a certain time, if that has not come.
    fn reschedule(&mut self, tunnel: usize, at: Option<Instant>, act: impl Fn(&TunnelHandle)) {
        let Some(live) = self.live.get_mut(tunnel) else {
            return;
        };
        let now = Instant::now();
        if let Some(begun) = live.closes_at.filter(|(_, at)| *at < now) {
            let issued = &mut live.commanded.get_or_insert(begun).0;
            *issued = begun.0.min(*issued);
        }
        live.closes_at = at.map(|at| (now, at));
        live.touched = now;
        act(&live.handle);
    }

    fn open(&mut self) {
        let tunnel = self.live.len();
        let (client, near_client) = connection();
        let (upstream, near_upstream) = connection();
        let builder = Tunnel::builder(Transport::new(near_client), Transport::new(near_upstream));
        let spliced = builder
            .config(Arc::clone(&self.config))
            .registry(&self.registry, TunnelInfo::new("ws://upstream", "/"))
            .build();
        let handle = spliced.handle();
        let mut witness = Witness {
            tunnel,
            report: None,
            ends: Arc::clone(&self.ends),
        };
        let task = tokio::spawn(async move {
            let report = spliced.await;
            witness.saw(report);
        });
        let now = Instant::now();
        let was_entered_in_drain = self.drain.is_draining();
        self.live.push(Live {
            client: Leg::new(client),
            upstream: Leg::new(upstream),
            handle,
            task,
            opened: now,
            touched: now,
            commanded: was_entered_in_drain.then_some((now, now)),
            closes_at: None,
            is_spared: false,
            was_entered_in_drain,
            was_aborted: false,
            was_dropped: false,
        });
    }

    fn start_drain(&mut self, spread: Duration, deadline: Duration) {
        let drain = self.drain.clone().spread(spread).deadline(deadline);
        for live in &mut self.live {
            live.is_spared = false;
        }
        let ends = Arc::clone(&self.ends);
        let began = Instant::now();
        let cut = began + deadline;
        self.cuts_from = Some(self.cuts_from.map_or(cut, |first| first.min(cut)));
        let task = tokio::spawn(async move {
            let before = ends.lock().len();
            let began = Instant::now();
            let drained = drain.run().await;
            let meanwhile = ends.lock()[before..].to_vec();
            (drained, began.elapsed(), meanwhile)
        });
        self.drains.push(RunningDrain {
            began,
            deadline,
            task,
        });
    }

    fn resume(&mut self) {
        self.drain.resume();
        // One that has not run yet begins behind this, and one whose deadline has come may have cut
        // the tunnels off before.
        let now = Instant::now();
        let is_under_way =
            |drain: &RunningDrain| drain.began < now && now < drain.began + drain.deadline;
        if self.drains.iter().all(is_under_way) {
            for live in &mut self.live {
                let is_free = live.first_command().is_none() && !live.handle.is_over();
                live.is_spared = is_free && laws::is_quiet(live, &self.settings);
            }
        }
        for live in &mut self.live {
            let entered = Some((live.opened, live.opened));
            let was_entered = std::mem::take(&mut live.was_entered_in_drain);
            if was_entered && live.commanded == entered {
                live.commanded = None;
            }
        }
    }

    /// Lets the tunnels come to their ends: first those that have a sign of it, then, by command,
    /// all others.
    pub(super) async fn finish(&mut self) {
        let longest = self.drains.iter().map(|drain| drain.deadline).max();
        let pauses = self.live.iter().map(|live| live.pauses(&self.settings));
        let pauses = pauses.max().unwrap_or_default();
        let all_bounds = self.settings.bound() + pauses + longest.unwrap_or_default() + ms(2000);
        sleep(all_bounds).await;
        self.check().await;
        for tunnel in 0..self.live.len() {
            self.step(&Step::Close(tunnel)).await;
        }
        sleep(all_bounds).await;
        self.check().await;
        assert_eq!(self.registry.count(), 0, "tunnels that never end");
    }
}

fn requested() -> CloseFrame {
    CloseFrame::new(CloseCode::new(REQUESTED), "by request")
}

impl Live {
    pub(super) fn leg(&self, side: Side) -> &Leg {
        match side {
            Side::Client => &self.client,
            _ => &self.upstream,
        }
    }

    fn leg_mut(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            _ => &mut self.upstream,
        }
    }

    /// When the first command came that ends the tunnel, and when the last such takes effect.
    pub(super) fn first_command(&self) -> Option<(Instant, Instant)> {
        let (issued, takes_effect) = self.commanded.or(self.closes_at)?;
        let scheduled = self.closes_at.map_or(issued, |(issued, _)| issued);
        Some((issued.min(scheduled), takes_effect))
    }

    /// How long the limits may have made both sides wait.
    pub(super) fn pauses(&self, settings: &Settings) -> Duration {
        let pauses = |side| settings.pauses(&self.leg(side).far.state().sent);
        SIDES.into_iter().map(pauses).sum()
    }

    /// The bytes that this side has received so far, taken apart.
    pub(super) fn received(&self, side: Side, settings: &Settings) -> Received {
        let sent = match side {
            Side::Client => self.upstream.far.state().sent.clone(),
            _ => self.client.far.state().sent.clone(),
        };
        let state = self.leg(side).far.state();
        match settings.framing {
            Framing::Opaque => wire::parse_opaque(side, &sent, &state.received),
            _ => wire::parse(side, &sent, &state.received, settings.keep_alive.is_some()),
        }
    }
}

impl Leg {
    fn new(far: FarEnd) -> Self {
        Self {
            far,
            kept: Vec::new(),
            answered_pings: 0,
        }
    }

    /// Sends these bytes behind those that were kept, and keeps the last so many.
    fn send(&mut self, bytes: &[u8], kept: usize) {
        self.kept.extend_from_slice(bytes);
        let len = self.kept.len().saturating_sub(kept);
        self.far.send(&self.kept[..len]);
        self.kept.drain(..len);
    }

    fn answer(&mut self, side: Side, seen: &Received) {
        for ping in &seen.pings[self.answered_pings..] {
            self.send(&from_side(side, pong(ping)), 0);
        }
        self.answered_pings = seen.pings.len();
        let is_closed = seen.own_close.is_some() || seen.has_relayed_close;
        let has_closed = wire::first_close(&self.far.state().sent).is_some();
        if is_closed && !has_closed {
            self.send(&from_side(side, close(1000, "")), 0);
        }
    }
}
