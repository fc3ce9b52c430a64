//! Ending all tunnels in good order.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    frame::{CloseCode, CloseFrame},
    instant::{FAR, saturating_add},
    tunnel::registry::{Command, Entry, Registry},
    tunnel::report::{TunnelEnd, TunnelInfo},
};

/// Ends the tunnels of a proxy: no new ones, a close frame for each, and a wait with an end.
///
/// Cheap to clone; every clone acts on the same proxy. A server's own graceful shutdown forgets
/// connections once they are upgraded; this is what remembers them.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
/// use axum::Router;
/// use wsplice::{Pool, ProxyLayer};
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let proxy = ProxyLayer::new(Pool::new(["ws://127.0.0.1:9000"])?);
/// let drain = proxy.drain();
/// let app = Router::new().layer(proxy);
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
///
/// let stop = async {
///     let _ = tokio::signal::ctrl_c().await;
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
    registry: Registry,
    state: Arc<State>,
    frame: CloseFrame,
    spread: Duration,
    deadline: Duration,
}

/// What all clones of a handle share.
#[derive(Default)]
struct State {
    is_draining: AtomicBool,
    /// The close frame of the clone that drains, for tunnels that it has not seen.
    frame: Mutex<Option<CloseFrame>>,
    /// Forwarded requests under way.
    exchanges: watch::Sender<usize>,
    /// Goes up when those are cut off.
    cuts: watch::Sender<u64>,
}

/// A forwarded request's place among those that a drain waits for.
#[derive(Debug)]
pub(crate) struct Exchange {
    state: Arc<State>,
    cuts: watch::Receiver<u64>,
}

/// How a drain went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Tunnels that ended in time.
    pub closed: usize,
    /// Tunnels that were cut off at the deadline.
    pub aborted: usize,
    /// Forwarded requests whose answers were cut off at the deadline.
    pub aborted_requests: usize,
}

impl Drain {
    pub(crate) fn new(registry: Registry) -> Self {
        Self {
            registry,
            state: Arc::default(),
            frame: CloseFrame::new(CloseCode::GOING_AWAY, "going away"),
            spread: Duration::ZERO,
            deadline: Duration::from_secs(30),
        }
    }

    /// Spreads the closes evenly over this time, so that the clients don't all come back at once.
    /// Zero, the default, closes all at once.
    pub fn spread(mut self, spread: Duration) -> Self {
        self.spread = spread;
        self
    }

    /// Cuts off what is still open this long after the start; 30 s by default. The spread is part
    /// of it.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The close frame that both legs get; 1001 by default, 1012 says that the service restarts.
    pub fn close_frame(mut self, frame: CloseFrame) -> Self {
        self.frame = frame;
        self
    }

    /// Whether new tunnels are being refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.state.is_draining.load(Ordering::Acquire)
    }

    /// Refuses new tunnels from now on, with 503 and `Retry-After`, and touches none that is open.
    pub fn refuse_new(&self) {
        *self.state.lock_frame() = Some(self.frame.clone());
        self.state.is_draining.store(true, Ordering::Release);
    }

    /// Takes new tunnels again.
    pub fn resume(&self) {
        self.state.is_draining.store(false, Ordering::Release);
    }

    /// Refuses new tunnels, closes those that are open, and waits for them. Requests that are
    /// [forwarded](crate::ForwardHttp) end by themselves, or are cut off at the deadline.
    ///
    /// # Cancellation
    ///
    /// When the future is dropped, the closes that it has announced are still sent at their
    /// times; only the deadline is lost. New tunnels go on being refused.
    pub async fn run(&self) -> Drained {
        let began = Instant::now();
        self.refuse_new();
        let mut drained = self.run_where(|_| true).await;
        // Handshakes that were under way when it began; each is told to close as it enters.
        while self.registry.count() > 0 {
            let late = self
                .clone()
                .spread(Duration::ZERO)
                .run_where(|_| true)
                .await;
            drained.closed += late.closed;
            drained.aborted += late.aborted;
        }
        drained.aborted_requests = self
            .end_exchanges(saturating_add(began, self.deadline))
            .await;
        drained
    }

    /// Waits for forwarded requests, and cuts off those that are not over by then: how many.
    async fn end_exchanges(&self, deadline: Instant) -> usize {
        let mut exchanges = self.state.exchanges.subscribe();
        let all_over = exchanges.wait_for(|under_way| *under_way == 0);
        if timeout_at(deadline, all_over).await.is_ok() {
            return 0;
        }
        self.state.cuts.send_modify(|cuts| *cuts += 1);
        *self.state.exchanges.borrow()
    }

    /// Closes the tunnels that the predicate picks, and waits for them. New ones are not refused.
    ///
    /// # Cancellation
    ///
    /// As for [`run`](Self::run).
    pub async fn run_where<F>(&self, mut picks: F) -> Drained
    where
        F: FnMut(&TunnelInfo) -> bool,
    {
        let began = Instant::now();
        let spread = self.spread.min(FAR);
        let mut entries = self.registry.entries();
        entries.retain(|entry| picks(entry.info()));
        // Shuffled: neighbours in the registry opened together, perhaps by the same client.
        fastrand::shuffle(&mut entries);
        let slots = u32::try_from(entries.len()).unwrap_or(u32::MAX).max(1);
        for (slot, entry) in (0_u32..).zip(&entries) {
            // Each in the middle of its own slot, give or take half of it.
            let share = (f64::from(slot) + fastrand::f64()) / f64::from(slots);
            entry.tell(Command::Close {
                frame: self.frame.clone(),
                end: TunnelEnd::Drained,
                at: Some(began + spread.mul_f64(share)),
            });
        }
        let mut drained = Drained::default();
        for entry in &entries {
            if tokio::time::timeout_at(saturating_add(began, self.deadline), entry.ended())
                .await
                .is_ok()
            {
                drained.closed += 1;
            } else {
                entry.tell(Command::Abort {
                    end: TunnelEnd::Drained,
                });
                entry.ended().await;
                drained.aborted += 1;
            }
        }
        drained
    }
}

impl Drain {
    /// Has a drain wait for a forwarded request.
    pub(crate) fn enter_exchange(&self) -> Exchange {
        self.state
            .exchanges
            .send_modify(|under_way| *under_way += 1);
        Exchange {
            state: Arc::clone(&self.state),
            cuts: self.state.cuts.subscribe(),
        }
    }

    /// Closes a tunnel that has just been entered.
    pub(crate) fn close_at_once(&self, entry: &Entry) {
        let frame = self.state.lock_frame().clone();
        let frame = frame.unwrap_or_else(|| self.frame.clone());
        entry.tell(Command::Close {
            frame,
            end: TunnelEnd::Drained,
            at: None,
        });
    }
}

impl State {
    fn lock_frame(&self) -> MutexGuard<'_, Option<CloseFrame>> {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exchange {
    /// Changes when it is to be cut off.
    pub(crate) fn cuts(&self) -> watch::Receiver<u64> {
        self.cuts.clone()
    }

    /// Whether it has been cut off.
    pub(crate) fn is_cut(&self) -> bool {
        self.cuts.has_changed().unwrap_or(false)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.state
            .exchanges
            .send_modify(|under_way| *under_way -= 1);
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
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
