//! An upstream as a member of a pool: its counts, its latency and its health.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    hash::hash,
    net::connect::Address,
    upstream::admission::{Admission, Gate},
    upstream::health::{EventCounts, HealthEvent, HealthTracker, ProbeTimes},
};

use super::definition::Upstream;

/// Upstream in a pool, with its state.
pub(crate) struct Member {
    upstream: Upstream,
    name_hash: u64,
    figures: Arc<Figures>,
}

/// State of an upstream; it outlives a change of settings.
#[derive(Debug, Default)]
struct Figures {
    gate: Gate,
    /// Smoothed latency in microseconds, plus one; zero before the first sample.
    latency_us: AtomicU64,
    /// Whether a slow start is under way; spares the lock when none is.
    is_ramping: AtomicBool,
    ramp: Mutex<Option<Ramp>>,
    /// Whether policies may pick the upstream now.
    is_used: AtomicBool,
    /// Time at which the drain began.
    draining: Mutex<Option<Instant>>,
    loss: Mutex<Option<Loss>>,
    /// Created from the pool's settings when the upstream joins the pool.
    watch: Mutex<Option<Watch>>,
}

/// Health of an upstream, and its probe schedule.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) standing: HealthTracker,
    pub(crate) times: ProbeTimes,
    pub(crate) last_probe: Option<HealthEvent>,
    /// Events since the pool's upstreams were last compared.
    pub(crate) tally: EventCounts,
}

/// Order to close every tunnel that was leased before `at`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    /// Sequence number among the orders of the pool.
    pub(crate) number: u32,
    pub(crate) at: Instant,
    /// Time from the first close to the last.
    pub(crate) spread: Duration,
    pub(crate) reason: &'static str,
}

/// Slow start of an upstream.
#[derive(Clone, Copy, Debug)]
struct Ramp {
    began: Instant,
    takes: Duration,
}

impl Member {
    pub(crate) fn new(upstream: Upstream) -> Self {
        Self {
            name_hash: hash(upstream.name().bytes()),
            upstream,
            figures: Arc::default(),
        }
    }

    /// Returns the upstream under other settings, with the same state.
    pub(crate) fn changed(&self, upstream: Upstream) -> Self {
        Self {
            name_hash: hash(upstream.name().bytes()),
            upstream,
            figures: Arc::clone(&self.figures),
        }
    }

    pub(crate) fn is_at(&self, address: &Address) -> bool {
        self.upstream.address == *address
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.figures.gate
    }

    /// Runs `act` on the upstream's health; `None` before the upstream is in a pool.
    pub(crate) fn with_watch<T>(&self, act: impl FnOnce(&mut Option<Watch>) -> T) -> T {
        act(&mut lock(&self.figures.watch))
    }

    /// Whether a tunnel or a probe still refers to the upstream's state, including those that began
    /// under earlier settings.
    pub(crate) fn is_held(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || Arc::strong_count(&self.figures) > 1
    }

    pub(crate) fn is_used(&self) -> bool {
        self.figures.is_used.load(Ordering::Relaxed)
    }

    /// Sets whether policies may pick the upstream from now on; returns the previous value.
    pub(crate) fn set_used(&self, is_used: bool) -> bool {
        self.figures.is_used.swap(is_used, Ordering::Relaxed)
    }

    /// Whether the upstream may get tunnels at all, whatever its health.
    pub(crate) fn is_open(&self) -> bool {
        self.weight() > 0 && self.draining_since().is_none()
    }

    pub(crate) fn draining_since(&self) -> Option<Instant> {
        *lock(&self.figures.draining)
    }

    /// Begins a drain; false if one is under way already.
    pub(crate) fn begin_draining(&self, now: Instant) -> bool {
        let mut draining = lock(&self.figures.draining);
        let is_new = draining.is_none();
        draining.get_or_insert(now);
        is_new
    }

    /// Ends the drain; false if none was under way.
    pub(crate) fn end_draining(&self) -> bool {
        lock(&self.figures.draining).take().is_some()
    }

    pub(crate) fn loss(&self) -> Option<Loss> {
        *lock(&self.figures.loss)
    }

    pub(crate) fn set_loss(&self, loss: Loss) {
        *lock(&self.figures.loss) = Some(loss);
    }

    pub(crate) const fn admission(&self) -> &Admission {
        &self.upstream.admission
    }

    pub(crate) const fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.upstream.name)
    }

    /// Returns the [`hash`] of the name.
    pub(crate) const fn name_hash(&self) -> u64 {
        self.name_hash
    }

    pub(crate) const fn weight(&self) -> u32 {
        self.upstream.weight
    }

    pub(crate) fn tunnels(&self) -> usize {
        self.figures.gate.tunnels()
    }

    pub(crate) fn handshakes(&self) -> usize {
        self.figures.gate.handshakes()
    }

    pub(crate) fn latency(&self) -> Option<Duration> {
        self.figures
            .latency_us
            .load(Ordering::Relaxed)
            .checked_sub(1)
            .map(Duration::from_micros)
    }

    /// Adds a latency sample: the duration of a handshake, or a ping's round trip. The smoothed
    /// value moves by an eighth (RFC 6298 §2). Of two simultaneous samples one may be lost, which
    /// is harmless.
    pub(crate) fn sample_latency(&self, sample: Duration) {
        let sample = u64::try_from(sample.as_micros()).unwrap_or(u64::MAX / 8);
        let smoothed = match self
            .figures
            .latency_us
            .load(Ordering::Relaxed)
            .checked_sub(1)
        {
            Some(before) => before - before / 8 + sample / 8,
            None => sample,
        };
        self.figures
            .latency_us
            .store(smoothed.saturating_add(1), Ordering::Relaxed);
    }

    /// Begins a slow start.
    pub(crate) fn ramp_up(&self, now: Instant, takes: Duration) {
        let figures = &self.figures;
        *lock(&figures.ramp) = Some(Ramp { began: now, takes });
        figures.is_ramping.store(true, Ordering::Relaxed);
    }

    /// Whether a slow start is under way.
    pub(crate) fn is_ramping(&self) -> bool {
        self.figures.is_ramping.load(Ordering::Relaxed)
    }

    /// Returns the fraction of its share that the upstream gets in a slow start, from just above 0
    /// to 1.
    pub(crate) fn readiness(&self, now: Instant) -> f64 {
        let figures = &self.figures;
        if !self.is_ramping() {
            return 1.0;
        }
        let ramp = lock(&figures.ramp);
        let Some(Ramp { began, takes }) = *ramp else {
            return 1.0;
        };
        let elapsed = now.saturating_duration_since(began);
        if elapsed >= takes {
            figures.is_ramping.store(false, Ordering::Relaxed);
            return 1.0;
        }
        (elapsed.as_secs_f64() / takes.as_secs_f64()).max(0.01)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("upstream", &self.upstream.name)
            .field("tunnels", &self.tunnels())
            .finish_non_exhaustive()
    }
}

/// Locks a mutex. A poisoned lock is used on: the data is consistent after every statement under
/// it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
