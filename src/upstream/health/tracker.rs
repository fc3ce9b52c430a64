//! What one upstream is taken for, and how that changes.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::instant::saturating_add;

use super::{
    ejection::{Ejection, Record},
    event::{EventSource, HealthEvent, HealthEventKind, Signal},
    policy::{HealthEvaluator, HealthPolicy, Verdict},
};

/// The health of one upstream: its judge and its ejections as one state machine.
///
/// ```text
///            the judge says "unhealthy", or `eject`
///   Healthy ────────────────────────────────────────► Unhealthy
///      ▲ ▲                                             │  │  ▲
///      │ └── the judge says "healthy" (probes) ────────┘  │  │ one failure
///      │                                                  │  │
///      └──── one success ──── HalfOpen ◄─── time is over ──┘  │
///                                │                           │
///                                └───────────────────────────┘
/// ```
///
/// Where probes lead the judge back to a healthy verdict, nothing else does: no client is needed
/// to find out. They do so at once after the first fall, and not before its [`Ejection`] says so
/// when it falls again and again. Everywhere else, and after [`eject`](Self::eject), the upstream is left out for
/// as long as its [`Ejection`] says, and for as long as the judge keeps count by himself of what
/// it did; then it is put on trial before a fresh judge, and the next handshake of a client decides.
///
/// What began before the upstream was ejected or readmitted tells of the time before, and is
/// passed over: a handshake that was hanging then, a tunnel that is only now found lost.
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
/// let mut standing = HealthTracker::new(Arc::new(Passive::default().fails(1)), ejection, Probed::No, now);
///
/// let refused = HealthEventKind::ConnectFailed(ErrorKind::Connect);
/// let transition = standing.observe(&HealthEvent::new(now, refused), 0.5).expect("it is bad");
/// assert_eq!(
///     transition.to_string(),
///     "unhealthy: 1 consecutive handshake failure: the upstream could not be connected",
/// );
/// assert!(!standing.state().is_usable());
///
/// let later = now + Duration::from_secs(10);
/// standing.tick(later, 0.5);
/// assert!(matches!(standing.state(), HealthState::HalfOpen { .. }));
/// ```
#[derive(Debug)]
pub struct HealthTracker {
    policy: Arc<dyn HealthPolicy>,
    ejection: Ejection,
    probed: Probed,
    judge: Box<dyn HealthEvaluator>,
    state: HealthState,
    record: Record,
    /// Until when probes that pass are not believed, as it fell too often.
    held: Option<Instant>,
    /// When the upstream was last ejected or readmitted.
    epoch: Instant,
    /// The latest moment that was seen.
    seen: Instant,
}

/// Whether an upstream is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// It is.
    Yes,
    /// All that is known comes from clients.
    No,
}

/// What an upstream is taken for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HealthState {
    /// It gets clients.
    #[non_exhaustive]
    Healthy {
        /// Since when.
        since: Instant,
    },
    /// It gets clients again; the first handshake that fails ends that.
    #[non_exhaustive]
    HalfOpen {
        /// Since when.
        since: Instant,
    },
    /// It should get no clients.
    #[non_exhaustive]
    Unhealthy {
        /// Since when.
        since: Instant,
        /// Why, for people.
        cause: Arc<str>,
        /// When it is looked at again; `None` where probes tell.
        until: Option<Instant>,
    },
}

/// A change of an upstream's health.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transition {
    /// It became healthy: by its probes, or by passing its trial.
    Healthy,
    /// Its ejection is over. It has no tunnels now, so it wants a slow start.
    HalfOpen,
    /// It became unhealthy.
    #[non_exhaustive]
    Unhealthy {
        /// Why, for people.
        cause: Arc<str>,
        /// When it will be looked at again; `None` where probes tell.
        until: Option<Instant>,
    },
}

impl HealthTracker {
    /// A new upstream, healthy until something is learned of it.
    #[must_use]
    pub fn new(
        policy: Arc<dyn HealthPolicy>,
        ejection: Ejection,
        probed: Probed,
        now: Instant,
    ) -> Self {
        Self {
            judge: policy.evaluator(),
            policy,
            ejection,
            probed,
            state: HealthState::Healthy { since: now },
            record: Record::default(),
            held: None,
            epoch: now,
            seen: now,
        }
    }

    /// What the upstream is taken for.
    #[must_use]
    pub const fn state(&self) -> &HealthState {
        &self.state
    }

    /// How many ejections in a row there were that are not yet forgiven.
    #[must_use]
    pub const fn ejections(&self) -> u32 {
        self.record.count()
    }

    /// Whether it is usable, and was when that moment came: what began then is not passed over.
    pub(crate) fn is_usable_since(&self, began: Instant) -> bool {
        self.state.is_usable() && began >= self.epoch
    }

    /// Takes an event in. `dice` is a number from 0 to 1 for the jitter of an ejection.
    pub fn observe(&mut self, event: &HealthEvent, dice: f64) -> Option<Transition> {
        if event.began < self.epoch {
            return self.tick(event.at, dice);
        }
        self.judge.observe(event);
        if let HealthState::HalfOpen { .. } = self.state {
            match on_trial(&event.kind) {
                // HalfOpen => Healthy
                Signal::Good => {
                    self.state = HealthState::Healthy { since: event.at };
                    let fell = self.tick(event.at, dice);
                    return fell.or(Some(Transition::Healthy));
                }
                // HalfOpen => Unhealthy
                Signal::Bad => {
                    let cause = format!("failed on trial: {}", event.kind);
                    return Some(self.fall(&cause, event.at, dice));
                }
                Signal::Neutral => {}
            }
        }
        self.tick(event.at, dice)
    }

    /// Looks at the clock; to be called when [`changes_at`](Self::changes_at) has come.
    pub fn tick(&mut self, now: Instant, dice: f64) -> Option<Transition> {
        self.seen = self.seen.max(now);
        let verdict = self.judge.verdict(now);
        match (&self.state, verdict) {
            // Healthy | HalfOpen => Unhealthy
            (HealthState::Healthy { .. } | HealthState::HalfOpen { .. }, Verdict::Unhealthy) => {
                let cause = self.judge.cause().into_owned();
                Some(self.fall(&cause, now, dice))
            }
            (HealthState::Unhealthy { until, .. }, verdict) => {
                let until = *until;
                self.rise(until, verdict, now)
            }
            _ => None,
        }
    }

    /// Ejects an upstream that is usable, for a reason that its judge does not know: it does
    /// worse than the others, or an operator says so.
    pub fn eject(&mut self, cause: &str, now: Instant, dice: f64) -> Option<Transition> {
        if !self.state.is_usable() {
            return None;
        }
        self.seen = self.seen.max(now);
        let until = self.record.eject(&self.ejection, now, dice);
        self.held = None;
        Some(self.enter_unhealthy(cause, Some(until), now))
    }

    /// When to call [`tick`](Self::tick) next; `None` when only an event can change anything.
    #[must_use]
    pub fn changes_at(&self) -> Option<Instant> {
        let change = match &self.state {
            HealthState::Unhealthy {
                until: Some(until), ..
            } => Some(*until),
            HealthState::Unhealthy { until: None, .. } => {
                let held = self.held.filter(|held| *held > self.seen);
                self.judge.changes_at().into_iter().chain(held).min()
            }
            _ => self.judge.changes_at(),
        };
        // A judge who announces the past must not make his caller spin.
        change.map(|change| change.max(saturating_add(self.seen, Duration::from_millis(1))))
    }

    /// The judge has found against the upstream, or it failed its trial.
    fn fall(&mut self, cause: &str, now: Instant, dice: f64) -> Transition {
        let until = if self.recovers_by_probes() {
            self.held = self.record.hold(&self.ejection, now, dice);
            None
        } else {
            self.held = None;
            Some(self.record.eject(&self.ejection, now, dice))
        };
        self.enter_unhealthy(cause, until, now)
    }

    fn enter_unhealthy(&mut self, cause: &str, until: Option<Instant>, now: Instant) -> Transition {
        let cause: Arc<str> = cause.into();
        self.epoch = now;
        self.state = HealthState::Unhealthy {
            since: now,
            cause: Arc::clone(&cause),
            until,
        };
        Transition::Unhealthy { cause, until }
    }

    fn rise(
        &mut self,
        until: Option<Instant>,
        verdict: Verdict,
        now: Instant,
    ) -> Option<Transition> {
        let Some(until) = until else {
            // Unhealthy => Healthy, once probes have told so.
            let is_held = self.held.is_some_and(|held| now < held);
            return (verdict == Verdict::Healthy && !is_held).then(|| {
                self.record.readmit(now);
                self.epoch = now;
                self.state = HealthState::Healthy { since: now };
                Transition::Healthy
            });
        };
        if now < until {
            return None;
        }
        if verdict == Verdict::Unhealthy {
            // Unhealthy => Unhealthy: from here on probes tell, or the judge still counts.
            if self.recovers_by_probes() {
                self.wait_until(None);
                return None;
            }
            if let Some(forgets_at) = self.judge.changes_at().filter(|at| *at > now) {
                self.wait_until(Some(forgets_at));
                return None;
            }
        }
        // Unhealthy => HalfOpen
        if !self.recovers_by_probes() {
            self.judge = self.policy.evaluator();
        }
        self.epoch = now;
        self.record.readmit(now);
        self.state = HealthState::HalfOpen { since: now };
        Some(Transition::HalfOpen)
    }

    fn wait_until(&mut self, moment: Option<Instant>) {
        if let HealthState::Unhealthy { until, .. } = &mut self.state {
            *until = moment;
        }
    }

    fn recovers_by_probes(&self) -> bool {
        self.probed == Probed::Yes && self.judge.recovers_by_probes()
    }
}

/// What an event says on trial, where the next handshake decides: probes have their judge, and
/// the end of a tunnel comes after the handshake that has decided.
fn on_trial(kind: &HealthEventKind) -> Signal {
    match kind.source() {
        EventSource::Handshake => kind.signal(),
        EventSource::Probe | EventSource::Tunnel => Signal::Neutral,
    }
}

impl HealthState {
    /// Whether it should get clients: it is healthy or on trial.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        !matches!(self, Self::Unhealthy { .. })
    }

    /// Since when it is what it is.
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
            Self::HalfOpen { .. } => f.write_str("on trial"),
            Self::Unhealthy { cause, .. } => write!(f, "unhealthy: {cause}"),
        }
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy"),
            Self::HalfOpen => f.write_str("on trial"),
            Self::Unhealthy { cause, .. } => write!(f, "unhealthy: {cause}"),
        }
    }
}

#[cfg(test)]
mod tests;
