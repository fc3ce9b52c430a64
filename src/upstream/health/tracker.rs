//! Health tracker: decides the health state of one upstream.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::instant::saturating_add;

use super::{
    ejection::{Ejection, EjectionHistory},
    event::{EventOutcome, HealthEvent, HealthEventKind},
    evidence::{Evidence, Weight},
    half_open_trial::HalfOpenTrial,
    health_state::{EjectedBy, HealthControl, HealthState, HealthTransition},
    policy::{HealthEvaluator, HealthPolicy, Verdict},
    probe::ProbeFailure,
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
/// the time of its [`Ejection`], for as long as the evaluator itself counts earlier events, but not
/// longer than the longest ejection, and for as long as its probe fails; then it becomes half-open
/// with a new evaluator, and the next handshake of a client decides.
///
/// A verdict that rests on the news of clients alone needs three of them, by address (IPv6: by /64
/// network), within a minute, and more than one path if another path succeeded meanwhile. News of
/// fewer clients only lowers the preference for the upstream: one client must not be able to have an
/// upstream ejected. While half-open, one failure is enough, as several clients have spoken before;
/// but the client that caused the last return to the ejection cannot cause the next one as well.
///
/// Events that began before the upstream was ejected or readmitted describe an earlier state and
/// are ignored: a handshake that was hanging then, a tunnel that is found lost only now.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "test-util")] {
/// use std::{sync::Arc, time::Duration};
/// use tokio::time::Instant;
/// use wsplice::{
///     ErrorKind,
///     health::{Ejection, HealthEvent, HealthEventKind, HealthState, Passive},
///     testing::{HealthTracker, Probed},
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
/// # }
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
    evidence: Evidence,
    /// Failure of the last probe, unless it passed.
    probe_failure: Option<ProbeFailure>,
    trial: HalfOpenTrial,
    /// What ejected the upstream last.
    ejected_by: EjectedBy,
    control: HealthControl,
    awaits_first_pass: bool,
}

/// Whether an upstream is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// Probes check the upstream.
    Yes,
    /// All events come from clients.
    No,
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
            evidence: Evidence::default(),
            probe_failure: None,
            trial: HalfOpenTrial::default(),
            ejected_by: EjectedBy::Failure,
            control: HealthControl::Auto,
            awaits_first_pass: false,
        }
    }

    /// Makes the upstream unhealthy until its first passed probe. Without probes it stays healthy.
    #[must_use]
    pub(crate) fn until_first_pass(mut self, now: Instant) -> Self {
        if self.probed == Probed::Yes {
            self.awaits_first_pass = true;
            self.ejected_by = EjectedBy::Operator;
            self.enter_unhealthy("not probed yet", None, now);
        }
        self
    }

    /// Returns what the upstream was ejected by; meaningful while it is unhealthy.
    pub(crate) const fn ejected_by(&self) -> EjectedBy {
        self.ejected_by
    }

    /// Returns whether the operator controls the health.
    pub(crate) const fn control(&self) -> HealthControl {
        self.control
    }

    /// Gives the control of the upstream's health to the operator, or back to events, which begin
    /// anew then.
    pub(crate) fn set_control(
        &mut self,
        control: HealthControl,
        now: Instant,
    ) -> Option<HealthTransition> {
        let was_usable = self.state.is_usable();
        // First, as the host's policy may panic.
        let evaluator = self.policy.evaluator();
        self.control = control;
        self.latest = self.latest.max(now);
        self.held_until = None;
        self.awaits_first_pass = false;
        if control == HealthControl::ForcedUnhealthy {
            self.ejected_by = EjectedBy::Operator;
            return was_usable.then(|| self.enter_unhealthy("forced by the operator", None, now));
        }
        self.evaluator = evaluator;
        self.evidence = Evidence::default();
        self.epoch = now;
        let was_healthy = matches!(self.state, HealthState::Healthy { .. });
        self.state = HealthState::Healthy { since: now };
        // A half-open upstream is usable too, but for few clients.
        (!was_healthy).then_some(HealthTransition::Healthy)
    }

    /// Returns the time for which the upstream should be less preferred on the news of few clients,
    /// if its evaluator finds it unhealthy on that ground.
    pub(crate) fn doubts_until(&mut self, now: Instant) -> Option<Instant> {
        let is_doubted = self.state.is_usable()
            && self.evidence.weight(now) == Weight::SeveralPaths
            && self.evaluator.verdict(now) == Verdict::Unhealthy;
        is_doubted.then(|| saturating_add(now, self.ejection.time(1, 0.5)))
    }

    /// Returns the health state.
    #[must_use]
    pub const fn state(&self) -> &HealthState {
        &self.state
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
        self.evidence.observe(event);
        self.evaluator.observe(event);
        match &event.kind {
            HealthEventKind::ProbePassed { .. } => {
                self.awaits_first_pass = false;
                self.probe_failure = None;
            }
            HealthEventKind::ProbeFailed { reason } => self.probe_failure = Some(reason.clone()),
            _ => {}
        }
        if self.control != HealthControl::Auto {
            return None;
        }
        if let HealthState::HalfOpen { .. } = self.state {
            let weight = self.evidence.weight(event.at);
            match self.trial.outcome(event, weight) {
                // HalfOpen => Healthy
                EventOutcome::Good => {
                    self.state = HealthState::Healthy { since: event.at };
                    let relapse = self.tick(event.at, random);
                    return relapse.or(Some(HealthTransition::Healthy));
                }
                // HalfOpen => Unhealthy
                EventOutcome::Bad => {
                    let cause = format!("failed while half-open: {}", event.kind);
                    self.ejected_by = self.ground();
                    self.held_until = None;
                    let until = self.history.eject(&self.ejection, event.at, random);
                    return Some(self.enter_unhealthy(&cause, Some(until), event.at));
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
        if self.control != HealthControl::Auto || self.awaits_first_pass {
            return None;
        }
        let verdict = self.evaluator.verdict(now);
        match (&self.state, verdict) {
            // Healthy | HalfOpen => Unhealthy
            (HealthState::Healthy { .. } | HealthState::HalfOpen { .. }, Verdict::Unhealthy)
                if self.evidence.weight(now) == Weight::Verdict =>
            {
                self.ejected_by = self.ground();
                let cause = self.cause();
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
        if !self.state.is_usable() || self.control != HealthControl::Auto {
            return None;
        }
        self.latest = self.latest.max(now);
        self.ejected_by = EjectedBy::Clients;
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
            HealthState::Unhealthy {
                until: None, since, ..
            } => {
                let held_until = self.held_until;
                let longest = self.gives_up_at(*since);
                let times = [self.evaluator.changes_at(), held_until, longest];
                let to_come = times.into_iter().flatten().filter(|at| *at > self.latest);
                to_come.min()
            }
            _ => self.evaluator.changes_at(),
        };
        if self.control != HealthControl::Auto || self.awaits_first_pass {
            return None;
        }
        // An evaluator that returns a time in the past must not make its caller spin.
        change.map(|change| change.max(saturating_add(self.latest, Duration::from_millis(1))))
    }

    /// Returns the cause of the evaluator's verdict. The failure of the last probe is added if the
    /// evaluator does not quote it: policies of the host seldom do.
    fn cause(&self) -> String {
        let cause = self.evaluator.cause();
        let failure = self.probe_failure.as_ref();
        match failure.map(|failure| format!("{failure:#}")) {
            Some(failure) if !cause.contains(&failure) => {
                format!("{cause}; the last probe failed: {failure}")
            }
            _ => cause.into_owned(),
        }
    }

    /// Makes the upstream unhealthy by verdict.
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
        match (until, verdict) {
            (Some(until), _) if now < until => None,
            // Unhealthy => Healthy, once probes have changed the verdict.
            (None, Verdict::Healthy) => {
                let is_held = self.held_until.is_some_and(|held_until| now < held_until);
                (!is_held).then(|| {
                    self.readmit(now);
                    self.state = HealthState::Healthy { since: now };
                    HealthTransition::Healthy
                })
            }
            (Some(_), Verdict::Healthy) => Some(self.half_open(now)),
            (_, Verdict::Unhealthy) => self.recover_although_unhealthy(now),
        }
    }

    /// Makes an upstream half-open whose evaluator has not found it healthy: an evaluator that
    /// counts clients alone cannot, as there are none.
    fn recover_although_unhealthy(&mut self, now: Instant) -> Option<HealthTransition> {
        let since = self.state.since();
        let gives_up_at = self.gives_up_at(since);
        let waits_for_probes =
            self.recovers_by_probes() && gives_up_at.is_none_or(|gives_up_at| now < gives_up_at);
        if waits_for_probes || self.evidence.is_probe_failing() {
            // Unhealthy => Unhealthy: probes decide from here on.
            self.wait_until(None);
            return None;
        }
        let longest = self.longest_until(since);
        let forgets_at = self.evaluator.changes_at().filter(|at| *at > now);
        if let Some(forgets_at) = forgets_at.filter(|_| now < longest) {
            // Unhealthy => Unhealthy: the evaluator still counts.
            self.wait_until(Some(forgets_at.min(longest)));
            return None;
        }
        self.evaluator = self.policy.evaluator();
        Some(self.half_open(now))
    }

    /// Unhealthy => HalfOpen
    fn half_open(&mut self, now: Instant) -> HealthTransition {
        self.readmit(now);
        self.state = HealthState::HalfOpen { since: now };
        HealthTransition::HalfOpen
    }

    fn readmit(&mut self, now: Instant) {
        self.history.readmit(now);
        self.epoch = now;
        self.evidence = Evidence::default();
    }

    /// Returns the end of the longest ejection that began at this time.
    fn longest_until(&self, since: Instant) -> Instant {
        saturating_add(since, self.ejection.longest())
    }

    /// Returns when the upstream recovers although its evaluator relies on probes, and these pass
    /// without changing the verdict.
    fn gives_up_at(&self, since: Instant) -> Option<Instant> {
        let passing_since = self.evidence.passing_since()?;
        Some(self.longest_until(since.max(passing_since)))
    }

    /// Returns what speaks against the upstream now.
    fn ground(&self) -> EjectedBy {
        match self.evidence.is_of_clients_alone() {
            true => EjectedBy::Clients,
            false => EjectedBy::Failure,
        }
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

#[cfg(test)]
mod tests;
