//! The tunnels of a case, its drains, and the steps done to them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use wsplice::{
    Drain, Registry, TunnelConfig, TunnelInfo, TunnelReport,
    connect::Transport,
    frame::{CloseCode, CloseFrame},
    tunnel::{Drained, Side, Tunnel, TunnelHandle},
};

use crate::support::{clock::ms, pipe::connection};

use super::{
    ends::{Ended, Ends, Witness, lock},
    laws,
    live::{Leg, Live},
    plan::{At, Plan, Settings, Step},
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
    /// Held by each tunnel until it is over.
    leases: Arc<()>,
}

/// A drain that was started.
pub(super) struct RunningDrain {
    pub(super) began: Instant,
    pub(super) deadline: Duration,
    /// How it went, and the tunnels that ended meanwhile.
    pub(super) task: JoinHandle<(Drained, Duration, Vec<Ended>)>,
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
            leases: Arc::default(),
        }
    }

    /// The number of leases that tunnels hold.
    pub(super) fn leases(&self) -> usize {
        Arc::strong_count(&self.leases) - 1
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
        let shown = Arc::<Mutex<Vec<TunnelReport>>>::default();
        let (reports, lease) = (Arc::clone(&shown), Arc::clone(&self.leases));
        let spliced = builder
            .config(Arc::clone(&self.config))
            .registry(&self.registry, TunnelInfo::new("ws://upstream", "/"))
            .on_end(move |_, report| {
                lock(&reports).push(report.clone());
                drop(lease);
            })
            .build();
        let handle = spliced.handle();
        let mut witness = Witness::new(tunnel, &self.ends);
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
            shown,
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
