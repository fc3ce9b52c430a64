//! Health tracker: the health state of one upstream, and its transitions.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::instant::saturating_add;

use super::{
    ejection::{Ejection, EjectionHistory},
    event::{EventOutcome, EventSource, HealthEvent, HealthEventKind},
    policy::{HealthEvaluator, HealthPolicy, Verdict},
};

/// Health tracker: the health of one upstream, as a state machine of its evaluator and its
/// ejections.
///
/// ```text
///            verdict "unhealthy", or `eject`
///   Healthy ────────────────────────────────────────► Unhealthy
///      ▲ ▲                                             │  │  ▲
///      │ └── verdict "healthy" (probes) ───────────────┘  │  │ one failure
///      │                                                  │  │
///      └──── one success ──── HalfOpen ◄── ejection over ─┘  │
///                                │                           │
///                                └───────────────────────────┘
/// ```
///
/// If probes can change the evaluator's verdict, they alone readmit an upstream, and no client has
/// to try it: at once after the first failure, and not before the end of its [`Ejection`] when it
/// fails again and again. Otherwise, and after [`eject`](Self::eject), the upstream is ejected for
/// the time of its [`Ejection`], and for as long as the evaluator itself counts earlier events;
/// then it becomes half-open with a new evaluator, and the next handshake of a client decides.
///
/// Events that began before the upstream was ejected or readmitted describe an earlier state and
/// are ignored: a handshake that was hanging then, a tunnel that is found lost only now.
///
/// # Examples
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use tokio::time::Instant;
/// use wsplice::{
///     ErrorKind,
///     health::{
///         Ejection, HealthEvent, HealthEventKind, HealthState, Passive, Probed, HealthTracker,
///     },
/// };
///
/// let now = Instant::now();
/// let ejection = Ejection::new().jitter(0.0);
/// let mut tracker = HealthTracker::new(Arc::new(Passive::default().fails(1)), ejection, Probed::No, now);
///
/// let refused = HealthEventKind::ConnectFailed(ErrorKind::Connect);
/// let transition = tracker.observe(&HealthEvent::new(now, refused), 0.5).expect("it is bad");
/// assert_eq!(
///     transition.to_string(),
///     "unhealthy: 1 consecutive handshake failure: the upstream could not be connected",
/// );
/// assert!(!tracker.state().is_usable());
///
/// let later = now + Duration::from_secs(10);
/// tracker.tick(later, 0.5);
/// assert!(matches!(tracker.state(), HealthState::HalfOpen { .. }));
/// ```
#[derive(Debug)]
pub struct HealthTracker {
    policy: Arc<dyn HealthPolicy>,
    ejection: Ejection,
    probed: Probed,
    evaluator: Box<dyn HealthEvaluator>,
    state: HealthState,
    history: EjectionHistory,
    /// Time before which passed probes do not readmit the upstream, as it failed too often.
    held_until: Option<Instant>,
    /// Time at which the upstream was last ejected or readmitted.
    epoch: Instant,
    /// Latest time that was passed in.
    latest: Instant,
}

/// Whether an upstream is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// Probes check the upstream.
    Yes,
    /// All events come from clients.
    No,
}

/// Health state of an upstream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HealthState {
    /// The upstream gets clients.
    #[non_exhaustive]
    Healthy {
        /// Time at which the state began.
        since: Instant,
    },
    /// The upstream gets clients again; the next handshake decides.
    #[non_exhaustive]
    HalfOpen {
        /// Time at which the state began.
        since: Instant,
    },
    /// The upstream should get no clients.
    #[non_exhaustive]
    Unhealthy {
        /// Time at which the state began.
        since: Instant,
        /// Human-readable cause.
        cause: Arc<str>,
        /// End of the ejection; `None` if probes decide.
        until: Option<Instant>,
    },
}

/// Transition of an upstream's health state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HealthTransition {
    /// The upstream became healthy: by its probes, or by a success while half-open.
    Healthy,
    /// The ejection is over. The upstream has no tunnels now and needs a slow start.
    HalfOpen,
    /// The upstream became unhealthy.
    #[non_exhaustive]
    Unhealthy {
        /// Human-readable cause.
        cause: Arc<str>,
        /// End of the ejection; `None` if probes decide.
        until: Option<Instant>,
    },
}

impl HealthTracker {
    /// Creates the tracker of a new upstream, which is healthy until events show otherwise.
    #[must_use]
    pub fn new(
        policy: Arc<dyn HealthPolicy>,
        ejection: Ejection,
        probed: Probed,
        now: Instant,
    ) -> Self {
        Self {
            evaluator: policy.evaluator(),
            policy,
            ejection,
            probed,
            state: HealthState::Healthy { since: now },
            history: EjectionHistory::default(),
            held_until: None,
            epoch: now,
            latest: now,
        }
    }

    /// Returns the health state.
    #[must_use]
    pub const fn state(&self) -> &HealthState {
        &self.state
    }

    /// Returns the number of ejections in a row that have not decayed.
    #[must_use]
    pub const fn ejections(&self) -> u32 {
        self.history.count()
    }

    /// Whether the upstream is usable now and was at this time, so that events which began then
    /// count.
    pub(crate) fn is_usable_since(&self, began: Instant) -> bool {
        self.state.is_usable() && began >= self.epoch
    }

    /// Takes in an event. `random` is a number from 0 to 1 for the jitter of an ejection.
    pub fn observe(&mut self, event: &HealthEvent, random: f64) -> Option<HealthTransition> {
        if event.began < self.epoch {
            return self.tick(event.at, random);
        }
        self.evaluator.observe(event);
        if let HealthState::HalfOpen { .. } = self.state {
            match half_open_signal(&event.kind) {
                // HalfOpen => Healthy
                EventOutcome::Good => {
                    self.state = HealthState::Healthy { since: event.at };
                    let relapse = self.tick(event.at, random);
                    return relapse.or(Some(HealthTransition::Healthy));
                }
                // HalfOpen => Unhealthy
                EventOutcome::Bad => {
                    let cause = format!("failed while half-open: {}", event.kind);
                    return Some(self.become_unhealthy(&cause, event.at, random));
                }
                EventOutcome::Neutral => {}
            }
        }
        self.tick(event.at, random)
    }

    /// Applies the changes that are due by now; call it when [`changes_at`](Self::changes_at) is
    /// reached.
    pub fn tick(&mut self, now: Instant, random: f64) -> Option<HealthTransition> {
        self.latest = self.latest.max(now);
        let verdict = self.evaluator.verdict(now);
        match (&self.state, verdict) {
            // Healthy | HalfOpen => Unhealthy
            (HealthState::Healthy { .. } | HealthState::HalfOpen { .. }, Verdict::Unhealthy) => {
                let cause = self.evaluator.cause().into_owned();
                Some(self.become_unhealthy(&cause, now, random))
            }
            (HealthState::Unhealthy { until, .. }, verdict) => {
                let until = *until;
                self.recover(until, verdict, now)
            }
            _ => None,
        }
    }

    /// Ejects a usable upstream for a reason unknown to its evaluator: as an outlier, or on an
    /// operator's request.
    pub fn eject(&mut self, cause: &str, now: Instant, random: f64) -> Option<HealthTransition> {
        if !self.state.is_usable() {
            return None;
        }
        self.latest = self.latest.max(now);
        let until = self.history.eject(&self.ejection, now, random);
        self.held_until = None;
        Some(self.enter_unhealthy(cause, Some(until), now))
    }

    /// Returns when to call [`tick`](Self::tick) next; `None` if only an event can change the
    /// state.
    #[must_use]
    pub fn changes_at(&self) -> Option<Instant> {
        let change = match &self.state {
            HealthState::Unhealthy {
                until: Some(until), ..
            } => Some(*until),
            HealthState::Unhealthy { until: None, .. } => {
                let held_until = self
                    .held_until
                    .filter(|held_until| *held_until > self.latest);
                self.evaluator
                    .changes_at()
                    .into_iter()
                    .chain(held_until)
                    .min()
            }
            _ => self.evaluator.changes_at(),
        };
        // An evaluator that returns a time in the past must not make its caller spin.
        change.map(|change| change.max(saturating_add(self.latest, Duration::from_millis(1))))
    }

    /// Makes the upstream unhealthy, by verdict or after a failure while half-open.
    fn become_unhealthy(&mut self, cause: &str, now: Instant, random: f64) -> HealthTransition {
        let until = if self.recovers_by_probes() {
            self.held_until = self.history.hold(&self.ejection, now, random);
            None
        } else {
            self.held_until = None;
            Some(self.history.eject(&self.ejection, now, random))
        };
        self.enter_unhealthy(cause, until, now)
    }

    fn enter_unhealthy(
        &mut self,
        cause: &str,
        until: Option<Instant>,
        now: Instant,
    ) -> HealthTransition {
        let cause: Arc<str> = cause.into();
        self.epoch = now;
        self.state = HealthState::Unhealthy {
            since: now,
            cause: Arc::clone(&cause),
            until,
        };
        HealthTransition::Unhealthy { cause, until }
    }

    fn recover(
        &mut self,
        until: Option<Instant>,
        verdict: Verdict,
        now: Instant,
    ) -> Option<HealthTransition> {
        let Some(until) = until else {
            // Unhealthy => Healthy, once probes have changed the verdict.
            let is_held = self.held_until.is_some_and(|held_until| now < held_until);
            return (verdict == Verdict::Healthy && !is_held).then(|| {
                self.history.readmit(now);
                self.epoch = now;
                self.state = HealthState::Healthy { since: now };
                HealthTransition::Healthy
            });
        };
        if now < until {
            return None;
        }
        if verdict == Verdict::Unhealthy {
            // Unhealthy => Unhealthy: probes decide from here on, or the evaluator still counts.
            if self.recovers_by_probes() {
                self.wait_until(None);
                return None;
            }
            if let Some(forgets_at) = self.evaluator.changes_at().filter(|at| *at > now) {
                self.wait_until(Some(forgets_at));
                return None;
            }
        }
        // Unhealthy => HalfOpen
        if !self.recovers_by_probes() {
            self.evaluator = self.policy.evaluator();
        }
        self.epoch = now;
        self.history.readmit(now);
        self.state = HealthState::HalfOpen { since: now };
        Some(HealthTransition::HalfOpen)
    }

    fn wait_until(&mut self, time: Option<Instant>) {
        if let HealthState::Unhealthy { until, .. } = &mut self.state {
            *until = time;
        }
    }

    fn recovers_by_probes(&self) -> bool {
        self.probed == Probed::Yes && self.evaluator.recovers_by_probes()
    }
}

/// Returns the meaning of an event while half-open, when the next handshake decides: probes go to
/// the evaluator, and a tunnel ends after the handshake that has decided.
fn half_open_signal(kind: &HealthEventKind) -> EventOutcome {
    match kind.source() {
        EventSource::Handshake => kind.outcome(),
        EventSource::Probe | EventSource::Tunnel => EventOutcome::Neutral,
    }
}

impl HealthState {
    /// Whether the upstream should get clients: it is healthy or half-open.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        !matches!(self, Self::Unhealthy { .. })
    }

    /// Returns the state as a [slug](crate#slugs): `healthy`, `half_open` or `unhealthy`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Healthy { .. } => "healthy",
            Self::HalfOpen { .. } => "half_open",
            Self::Unhealthy { .. } => "unhealthy",
        }
    }

    /// Returns when the state began.
    #[must_use]
    pub const fn since(&self) -> Instant {
        match self {
            Self::Healthy { since } | Self::HalfOpen { since } | Self::Unhealthy { since, .. } => {
                *since
            }
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy { .. } => f.write_str("healthy"),
            Self::HalfOpen { .. } => f.write_str("half-open"),
            Self::Unhealthy { cause, .. } => write!(f, "unhealthy: {cause}"),
        }
    }
}

impl HealthTransition {
    /// Returns the state that was reached as a [slug](crate#slugs), as
    /// [`HealthState::as_str`] does.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::HalfOpen => "half_open",
            Self::Unhealthy { .. } => "unhealthy",
        }
    }
}

impl fmt::Display for HealthTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy"),
            Self::HalfOpen => f.write_str("half-open"),
            Self::Unhealthy { cause, .. } => write!(f, "unhealthy: {cause}"),
        }
    }
}

#[cfg(test)]
mod tests;
