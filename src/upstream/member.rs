//! An upstream as a member of a pool: its counts, its latency and its health.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    hash::hash,
    http::relay::RelayGroup,
    lock::lock,
    tunnel::registry::{Revocable, TunnelGroup},
    upstream::admission::{Admission, AdmissionCounters, AdmissionKind, LimitReached},
    upstream::health::{Doubt, EjectedBy},
};

use super::{
    close_order::CloseOrder, counters::LiveCounters, guarded::Guarded, latency::PeakLatency,
    member_health::MemberHealth, upstream::Upstream,
};

/// Upstream in a pool, with its state.
pub(crate) struct Member {
    upstream: Upstream,
    name_hash: u64,
    state: Arc<MemberState>,
}

/// State of an upstream; it outlives a change of settings.
#[derive(Debug, Default)]
struct MemberState {
    counters: AdmissionCounters,
    events: LiveCounters,
    open_tunnels: Arc<TunnelGroup>,
    responses: Arc<RelayGroup>,
    /// `None` before the first sample.
    latency: Mutex<Option<PeakLatency>>,
    /// Place in the list that picks are made from; outdated if another upstream is there.
    slot: AtomicUsize,
    /// Reasons for a readiness below 1, of [`SLOW_START`], [`DOUBT`] and [`TRIAL`]; spares the locks
    /// when there are none.
    hindrances: AtomicU8,
    slow_start: Mutex<Option<SlowStart>>,
    doubt: Mutex<Doubt>,
    /// Number of clients that may try the upstream at once while it is half-open; 0 is no limit.
    trial_limit: AtomicUsize,
    /// Number of clients that try it.
    trials: AtomicUsize,
    /// Whether policies may pick the upstream now.
    is_used: AtomicBool,
    /// Whether the upstream was removed from the pool.
    has_left: AtomicBool,
    /// Time at which the drain began.
    draining: Mutex<Option<Instant>>,
    close_order: Mutex<Option<CloseOrder>>,
    /// Created from the pool's settings when the upstream joins the pool.
    health: Guarded<Option<MemberHealth>>,
}

/// A slow start is under way.
const SLOW_START: u8 = 1;
/// Clients have failed since the last that succeeded.
const DOUBT: u8 = 2;
/// The number of clients is limited, as the upstream is half-open.
const TRIAL: u8 = 4;

/// Readiness of an upstream on whose failure clients have reported: so little that any other is
/// picked first, however full.
const DOUBTED_READINESS: f64 = 1e-9;

/// Slow start of an upstream.
#[derive(Clone, Copy, Debug)]
struct SlowStart {
    started_at: Instant,
    duration: Duration,
}

impl Member {
    pub(crate) fn new(upstream: Upstream) -> Self {
        Self {
            name_hash: hash(upstream.name().bytes()),
            upstream,
            state: Arc::default(),
        }
    }

    /// Returns the upstream under other settings, with the same state.
    pub(crate) fn changed(&self, upstream: Upstream) -> Self {
        Self {
            name_hash: hash(upstream.name().bytes()),
            upstream,
            state: Arc::clone(&self.state),
        }
    }

    pub(crate) fn counters(&self) -> &AdmissionCounters {
        &self.state.counters
    }

    /// Counts of attempts and their results.
    pub(crate) fn event_counters(&self) -> &LiveCounters {
        &self.state.events
    }

    /// Open tunnels of the upstream, whichever layer they came by.
    pub(crate) fn open_tunnels(&self) -> &Arc<TunnelGroup> {
        &self.state.open_tunnels
    }

    /// Responses of the upstream that are under way, whichever layer they came by.
    pub(crate) fn responses(&self) -> &Arc<RelayGroup> {
        &self.state.responses
    }

    /// Runs `act` on the upstream's health; `None` before the upstream is in a pool.
    ///
    /// # Panics
    ///
    /// When `act` calls a policy of the host, and that calls a pool.
    pub(crate) fn with_health<T>(&self, act: impl FnOnce(&mut Option<MemberHealth>) -> T) -> T {
        act(&mut self.state.health.lock())
    }

    /// Whether the operator, or a setting, wants the upstream to get no clients.
    pub(crate) fn is_forced_unhealthy(&self) -> bool {
        self.with_health(|health| {
            health.as_ref().is_some_and(|health| {
                let tracker = &health.tracker;
                !tracker.state().is_usable() && tracker.ejected_by() == EjectedBy::Operator
            })
        })
    }

    /// Whether a tunnel or a probe still refers to the upstream's state, including those that began
    /// under earlier settings.
    pub(crate) fn is_held(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || Arc::strong_count(&self.state) > 1
    }

    /// Whether the upstream was removed from the pool.
    pub(crate) fn has_left(&self) -> bool {
        self.state.has_left.load(Ordering::Relaxed)
    }

    pub(crate) fn set_left(&self, has_left: bool) {
        self.state.has_left.store(has_left, Ordering::Relaxed);
    }

    pub(crate) fn is_used(&self) -> bool {
        self.state.is_used.load(Ordering::Relaxed)
    }

    /// Sets whether policies may pick the upstream from now on; returns the previous value.
    pub(crate) fn set_used(&self, is_used: bool) -> bool {
        self.state.is_used.swap(is_used, Ordering::Relaxed)
    }

    /// Whether the upstream may get tunnels at all, whatever its health.
    pub(crate) fn is_open(&self) -> bool {
        self.weight() > 0 && self.draining_since().is_none()
    }

    pub(crate) fn draining_since(&self) -> Option<Instant> {
        *lock(&self.state.draining)
    }

    /// Begins a drain; false if one is under way already.
    pub(crate) fn begin_draining(&self, now: Instant) -> bool {
        let mut draining = lock(&self.state.draining);
        let is_new = draining.is_none();
        draining.get_or_insert(now);
        is_new
    }

    /// Ends the drain; false if none was under way.
    pub(crate) fn end_draining(&self) -> bool {
        lock(&self.state.draining).take().is_some()
    }

    pub(crate) fn close_order(&self) -> Option<CloseOrder> {
        *lock(&self.state.close_order)
    }

    pub(crate) fn set_close_order(&self, close_order: CloseOrder) {
        *lock(&self.state.close_order) = Some(close_order);
    }

    /// Withdraws the order to close tunnels if this issuer gave it.
    pub(crate) fn withdraw_close_order(&self, issuer: Revocable) {
        let mut order = lock(&self.state.close_order);
        *order = order.filter(|order| order.revocable != issuer);
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
        self.state.counters.tunnels()
    }

    pub(crate) fn handshakes(&self) -> usize {
        self.state.counters.handshakes()
    }

    /// Returns the moving average of the latency at its last sample.
    pub(crate) fn latency(&self) -> Option<Duration> {
        let latency = lock(&self.state.latency);
        latency.map(|latency| latency.average())
    }

    /// Returns the moving average of the latency, faded since its last sample.
    pub(crate) fn expected_latency(&self, now: Instant) -> Option<Duration> {
        let latency = lock(&self.state.latency);
        latency.map(|latency| latency.estimate(now))
    }

    /// Adds a latency sample: the duration of a handshake or a probe, or a ping's round trip.
    pub(crate) fn sample_latency(&self, sample: Duration, now: Instant) {
        match &mut *lock(&self.state.latency) {
            Some(latency) => latency.sample(sample, now),
            none => *none = Some(PeakLatency::new(sample, now)),
        }
    }

    /// Whether the upstream's limits leave no room for this kind of traffic.
    pub(crate) fn is_full(&self, kind: AdmissionKind) -> bool {
        self.counters().is_full(kind, self.admission())
    }

    /// Whether the handshakes of this second were used up when the rate was last looked at.
    pub(crate) fn is_rate_used_up(&self) -> bool {
        self.counters().is_rate_used_up(self.admission())
    }

    /// Looks at the rate of handshakes, and returns when there is room again; `None` if there is now.
    pub(crate) fn rate_ready_at(&self, now: Instant) -> Option<Instant> {
        self.counters().rate_ready_at(self.admission(), now)
    }

    /// Returns the limit that does not admit this kind of traffic now.
    pub(crate) fn limit_reached(&self, kind: AdmissionKind, now: Instant) -> Option<LimitReached> {
        self.counters().limit_reached(kind, self.admission(), now)
    }

    /// Returns the upstream's place in the list that picks are made from.
    pub(crate) fn slot(&self) -> usize {
        self.state.slot.load(Ordering::Relaxed)
    }

    pub(crate) fn set_slot(&self, slot: usize) {
        self.state.slot.store(slot, Ordering::Relaxed);
    }

    /// Whether both are the same upstream, perhaps under different settings.
    pub(crate) fn is_same_upstream(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Whether the readiness is certainly 1; reads no clock.
    pub(crate) fn is_ready(&self) -> bool {
        let hindrances = self.state.hindrances.load(Ordering::Relaxed);
        hindrances == 0 || (hindrances == TRIAL && !self.is_trial_full())
    }

    /// Changes the doubt about the upstream.
    pub(crate) fn with_doubt(&self, change: impl FnOnce(&mut Doubt)) {
        let mut doubt = lock(&self.state.doubt);
        change(&mut doubt);
        self.set_hindrance(DOUBT, doubt.is_open());
    }

    /// Whether clients have failed since the last that succeeded.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.is_hindered_by(DOUBT)
    }

    /// Whether other upstreams are preferable.
    pub(crate) fn is_doubted(&self, now: Instant) -> bool {
        self.is_doubtful() && lock(&self.state.doubt).is_doubted(now)
    }

    /// Sets the number of clients that may try the upstream at once; 0 is no limit.
    pub(crate) fn set_trial_limit(&self, limit: usize) {
        self.state.trial_limit.store(limit, Ordering::Relaxed);
        self.set_hindrance(TRIAL, limit > 0);
    }

    /// Whether so many clients try a half-open upstream that others should not.
    pub(crate) fn is_trial_full(&self) -> bool {
        let limit = self.state.trial_limit.load(Ordering::Relaxed);
        limit > 0 && self.state.trials.load(Ordering::Relaxed) >= limit
    }

    /// Counts a client that tries the upstream, if it is half-open.
    pub(crate) fn begin_trial(&self) -> bool {
        let is_trial = self.state.trial_limit.load(Ordering::Relaxed) > 0;
        if is_trial {
            self.state.trials.fetch_add(1, Ordering::Relaxed);
        }
        is_trial
    }

    pub(crate) fn end_trial(&self) {
        self.state.trials.fetch_sub(1, Ordering::Relaxed);
    }

    /// Begins a slow start.
    pub(crate) fn begin_slow_start(&self, now: Instant, duration: Duration) {
        let state = &self.state;
        *lock(&state.slow_start) = Some(SlowStart {
            started_at: now,
            duration,
        });
        self.set_hindrance(SLOW_START, true);
    }

    /// Whether a slow start is under way.
    pub(crate) fn is_slow_starting(&self) -> bool {
        self.is_hindered_by(SLOW_START)
    }

    /// Returns the fraction of its share that the upstream should get, from just above 0 to 1: less
    /// than 1 in a slow start, and next to nothing while other upstreams are preferable.
    pub(crate) fn readiness(&self, now: Instant) -> f64 {
        if self.state.hindrances.load(Ordering::Relaxed) == 0 {
            return 1.0;
        }
        match self.is_doubted(now) || self.is_trial_full() {
            true => DOUBTED_READINESS,
            false => self.slow_start_readiness(now),
        }
    }

    fn is_hindered_by(&self, hindrance: u8) -> bool {
        self.state.hindrances.load(Ordering::Relaxed) & hindrance != 0
    }

    fn set_hindrance(&self, hindrance: u8, is_there: bool) {
        let hindrances = &self.state.hindrances;
        match is_there {
            true => hindrances.fetch_or(hindrance, Ordering::Relaxed),
            false => hindrances.fetch_and(!hindrance, Ordering::Relaxed),
        };
    }

    fn slow_start_readiness(&self, now: Instant) -> f64 {
        let state = &self.state;
        if !self.is_slow_starting() {
            return 1.0;
        }
        let slow_start = lock(&state.slow_start);
        let Some(SlowStart {
            started_at,
            duration,
        }) = *slow_start
        else {
            return 1.0;
        };
        let elapsed = now.saturating_duration_since(started_at);
        if elapsed >= duration {
            self.set_hindrance(SLOW_START, false);
            return 1.0;
        }
        (elapsed.as_secs_f64() / duration.as_secs_f64()).max(0.01)
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
