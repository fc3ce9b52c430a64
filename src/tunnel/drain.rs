//! Drain: the orderly end of all tunnels.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    frame::{CloseCode, CloseFrame},
    instant::{FAR, saturating_add},
    tunnel::drained::Drained,
    tunnel::info::TunnelInfo,
    tunnel::registry::{Command, Entry, Registry, Revocable},
    tunnel::report::TunnelEnd,
};

/// Time that a tunnel has to answer its close frame before the deadline of a drain: the default
/// of [`TunnelConfig::close_timeout`](crate::TunnelConfig::close_timeout).
const TIME_TO_CLOSE: Duration = Duration::from_secs(5);

/// Time that a drain waits for the tunnels that it has cut off. A tunnel that is not polled, or
/// whose observer blocks, never ends.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Drain of a proxy's tunnels: refuses new ones, closes each open one, and waits for their ends.
///
/// Cheap to clone; every clone acts on the same proxy. A server's own graceful shutdown does not
/// cover connections once they are upgraded; a drain does. Service managers stop a process by SIGTERM,
/// which `ctrl_c` does not see: wait for either.
///
/// A host that runs [`Tunnel`](crate::tunnel::Tunnel)s of its own makes one for its registry; all drains of
/// a registry act on the same tunnels.
///
/// # Examples
///
/// ```no_run,ignore-windows
/// use std::time::Duration;
/// use axum::Router;
/// use tokio::signal::{ctrl_c, unix::{SignalKind, signal}};
/// use wsplice::{Pool, ProxyLayer};
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let proxy = ProxyLayer::new(Pool::new(["ws://127.0.0.1:9000"])?);
/// let drain = proxy.drain();
/// let app = Router::new().layer(proxy);
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
///
/// let mut terminate = signal(SignalKind::terminate())?;
/// let stop = async move {
///     tokio::select! { _ = ctrl_c() => {}, _ = terminate.recv() => {} }
/// };
/// axum::serve(listener, app).with_graceful_shutdown(stop).await?;
/// let drained = drain.spread(Duration::from_secs(5)).deadline(Duration::from_secs(30)).run().await;
/// println!("{} closed, {} aborted", drained.closed, drained.aborted);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "call `run` to drain"]
pub struct Drain {
    registries: Arc<[Registry]>,
    frame: CloseFrame,
    spread: Duration,
    deadline: Duration,
}

impl Drain {
    /// A drain of the tunnels in this registry.
    pub fn new(registry: &Registry) -> Self {
        Self::of([registry.clone()].into())
    }

    /// One drain of all that these drain, with the default settings: for several layers, each of
    /// which has a registry of its own.
    ///
    /// They are drained side by side, within one deadline.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Drain, Pool, ProxyLayer};
    ///
    /// # async fn stop() -> Result<(), wsplice::connect::InvalidAddress> {
    /// let chat = ProxyLayer::new(Pool::new(["ws://10.0.0.1:8080"])?);
    /// let feed = ProxyLayer::new(Pool::new(["ws://10.0.0.2:8080"])?);
    /// let drain = Drain::all([&chat.drain(), &feed.drain()]);
    /// drain.run().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn all<'a>(drains: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut registries: Vec<Registry> = Vec::new();
        for registry in drains.into_iter().flat_map(|drain| drain.registries.iter()) {
            if !registries.iter().any(|known| known.is_same(registry)) {
                registries.push(registry.clone());
            }
        }
        Self::of(registries.into())
    }

    fn of(registries: Arc<[Registry]>) -> Self {
        Self {
            registries,
            frame: CloseFrame::new(CloseCode::GOING_AWAY, "going away"),
            spread: Duration::ZERO,
            deadline: Duration::from_secs(30),
        }
    }

    /// Spreads the closes evenly over this time, so that the clients don't all come back at once.
    /// Zero, the default, closes all at once.
    ///
    /// The last close is sent 5 s before the [deadline](Self::deadline) at the latest, so that no
    /// client is cut off that has not seen a close frame.
    pub fn spread(mut self, spread: Duration) -> Self {
        self.spread = spread;
        self
    }

    /// Cuts off tunnels and requests that are still open this long after the start; 30 s by
    /// default. The spread is part of it.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The close frame for both legs; 1001 by default. 1012 means that the service restarts.
    pub fn close_frame(mut self, frame: CloseFrame) -> Self {
        self.frame = frame;
        self
    }

    /// Whether new tunnels are being refused, everywhere.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        let mut registries = self.registries.iter();
        registries.all(|registry| registry.drain_state().is_draining())
    }

    /// Refuses new tunnels from now on, with 503 and `Retry-After`; open ones go on.
    pub fn refuse_new(&self) {
        for registry in self.registries.iter() {
            registry.drain_state().refuse_new(self.frame.clone());
        }
    }

    /// Allows new tunnels again, and cancels a [`run`](Self::run) that is under way: tunnels that
    /// have not been sent their close frame stay open.
    pub fn resume(&self) {
        for registry in self.registries.iter() {
            registry.drain_state().resume();
            for entry in registry.entries() {
                entry.cancel_revocable(Revocable::ByResume);
            }
        }
    }

    /// Refuses new tunnels, closes those that are open, and waits until the last of them has ended
    /// and its report was shown to the [`Observer`](crate::Observer). Requests that are
    /// [forwarded](crate::ForwardHttp) end by themselves, or are cut off at the deadline.
    ///
    /// Returns early when [`resume`](Self::resume) cancels it, with the tunnels that had ended by
    /// then. Tunnels that end by themselves meanwhile are counted too.
    ///
    /// # Cancellation
    ///
    /// When the future is dropped, the closes that it has announced are still sent at their
    /// times, and each tunnel ends within its own timeouts, or at the deadline if bytes before its
    /// close frame still move then. Requests are not cut off. New tunnels go on being refused.
    pub async fn run(&self) -> Drained {
        let deadline = saturating_add(Instant::now(), self.deadline);
        let drains = self.registries.iter();
        let drains = drains.map(|registry| self.run_one(registry, deadline));
        let mut total = Drained::default();
        for drained in join_all(drains).await {
            total.closed += drained.closed;
            total.aborted += drained.aborted;
            total.aborted_requests += drained.aborted_requests;
        }
        total
    }

    /// Drains one registry.
    async fn run_one(&self, registry: &Registry, deadline: Instant) -> Drained {
        let state = registry.drain_state();
        let mut resumes = state.resumes();
        let before = registry.departed();
        state.refuse_new(self.frame.clone());
        let end_all = pin!(self.end_all(registry, deadline));
        let left = until_resumed(end_all, &mut resumes)
            .await
            .unwrap_or_default();
        let after = registry.departed();
        let aborted = after.cut - before.cut;
        Drained {
            closed: after.ended - before.ended - aborted,
            aborted: aborted + left.tunnels,
            aborted_requests: left.requests,
        }
    }

    /// Closes all tunnels and waits for them, those too that enter meanwhile.
    async fn end_all(&self, registry: &Registry, deadline: Instant) -> Left {
        self.announce(registry.entries(), |entry, close| {
            entry.send_revocable(close, Revocable::ByResume);
        });
        let wait = async {
            loop {
                // Also those whose handshakes were under way: each is closed as it is listed.
                let entries = registry.entries();
                if entries.is_empty() {
                    return;
                }
                for entry in entries {
                    entry.ended().await;
                }
            }
        };
        let mut left = Left::default();
        if timeout_at(deadline, wait).await.is_err() {
            let entries = registry.entries();
            cut_off(&entries).await;
            left.tunnels = entries.iter().filter(|entry| !entry.has_ended()).count();
        }
        left.requests = end_requests(registry, deadline).await;
        left
    }

    /// Closes the tunnels that the predicate picks, and waits until the last of them has ended and
    /// its report was shown. New ones are not refused, and [`resume`](Self::resume) does not cancel
    /// the closes. The predicate sees a tunnel that was
    /// [reattached](crate::tunnel::reattach::Reattach) with the upstream that it has now.
    ///
    /// # Cancellation
    ///
    /// As for [`run`](Self::run).
    pub async fn run_where<F>(&self, mut picks: F) -> Drained
    where
        F: FnMut(&TunnelInfo) -> bool,
    {
        let registries = self.registries.iter();
        let mut entries: Vec<_> = registries.flat_map(Registry::open_entries).collect();
        entries.retain(|entry| entry.with_current_info(&mut picks));
        self.end_each(entries).await
    }

    /// Closes the tunnels with this [key](TunnelInfo::key) as [`run_where`](Self::run_where) does, and
    /// finds them without visiting the others.
    ///
    /// # Cancellation
    ///
    /// As for [`run`](Self::run).
    pub async fn run_by_key(&self, key: &str) -> Drained {
        let registries = self.registries.iter();
        let entries = registries.flat_map(|it| it.open_with_key(key)).collect();
        self.end_each(entries).await
    }

    /// Closes these tunnels, and waits for them.
    async fn end_each(&self, entries: Vec<Arc<Entry>>) -> Drained {
        let deadline = saturating_add(Instant::now(), self.deadline);
        self.announce(entries.clone(), Entry::send_command);
        let wait = async {
            for entry in &entries {
                entry.ended().await;
            }
        };
        if timeout_at(deadline, wait).await.is_err() {
            cut_off(&entries).await;
        }
        let was_cut = |entry: &&Arc<Entry>| entry.was_cut() || !entry.has_ended();
        let aborted = entries.iter().filter(was_cut).count();
        Drained {
            closed: entries.len() - aborted,
            aborted,
            aborted_requests: 0,
        }
    }

    /// Schedules the close of each tunnel.
    fn announce(&self, mut entries: Vec<Arc<Entry>>, send: impl Fn(&Entry, Command)) {
        let began = Instant::now();
        let until = saturating_add(began, self.deadline);
        let spread = self
            .spread
            .min(self.deadline.saturating_sub(TIME_TO_CLOSE))
            .min(FAR);
        // Shuffled: neighbors in the registry opened together, perhaps by the same client.
        fastrand::shuffle(&mut entries);
        let slots = u32::try_from(entries.len()).unwrap_or(u32::MAX).max(1);
        for (slot, entry) in (0_u32..).zip(&entries) {
            // A random moment within the tunnel's own slot.
            let share = (f64::from(slot) + fastrand::f64()) / f64::from(slots);
            let close = Command::Close {
                frame: self.frame.clone(),
                end: TunnelEnd::Drained,
                at: Some(began + spread.mul_f64(share)),
                until: Some(until),
            };
            send(entry, close);
        }
    }
}

/// Waits for forwarded requests, cuts off those that are not over at the deadline, and returns their
/// number.
async fn end_requests(registry: &Registry, deadline: Instant) -> usize {
    let mut in_flight = registry.drain_state().in_flight();
    let all_over = in_flight.wait_for(|requests| *requests == 0);
    if timeout_at(deadline, all_over).await.is_ok() {
        return 0;
    }
    registry.drain_state().cut_requests()
}

/// Awaits all of these futures, side by side.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(Box::pin).collect();
    let mut outputs = Vec::with_capacity(pending.len());
    poll_fn(|cx| {
        pending.retain_mut(|future| match future.as_mut().poll(cx) {
            Poll::Ready(output) => {
                outputs.push(output);
                false
            }
            Poll::Pending => true,
        });
        match pending.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    outputs
}

/// Tunnels that did not end although they were cut off, and requests that were cut off.
#[derive(Default)]
struct Left {
    tunnels: usize,
    requests: usize,
}

/// Cuts off these tunnels, and waits up to [`ABORT_TIMEOUT`] for their reports.
async fn cut_off(entries: &[Arc<Entry>]) {
    for entry in entries {
        let end = TunnelEnd::Drained;
        entry.send_command(Command::Abort { end });
    }
    let wait = async {
        for entry in entries {
            entry.ended().await;
        }
    };
    // The caller counts those that did not end.
    let _ = timeout(ABORT_TIMEOUT, wait).await;
}

/// Awaits a drain; `None` if it is resumed meanwhile.
async fn until_resumed<T>(
    mut drain: Pin<&mut impl Future<Output = T>>,
    resumes: &mut watch::Receiver<u64>,
) -> Option<T> {
    let mut resumed = pin!(resumes.changed());
    poll_fn(|cx| {
        // Polled first, so that nothing is cut off after a resume.
        if resumed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        drain.as_mut().poll(cx).map(Some)
    })
    .await
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("is_draining", &self.is_draining())
            .field("frame", &self.frame)
            .field("spread", &self.spread)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
