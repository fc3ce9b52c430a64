//! Combinations of several health policies.

use std::{borrow::Cow, sync::Arc};

use tokio::time::Instant;

use super::traits::{HealthEvaluator, HealthPolicy, Verdict};
use crate::upstream::health::event::HealthEvent;

/// Health policy: unhealthy as soon as any of several policies is; healthy without policies.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::health::{AnyOf, Consecutive, SlowHandshake};
///
/// let policy = AnyOf::new()
///     .with(Consecutive::new())
///     .with(SlowHandshake::above(Duration::from_secs(1)));
/// # let _ = policy;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct AnyOf {
    policies: Vec<Arc<dyn HealthPolicy>>,
}

/// Health policy: unhealthy only while all of several policies are; healthy without policies.
///
/// # Examples
///
/// ```
/// use wsplice::health::{AllOf, Consecutive, FailureRate};
///
/// let policy = AllOf::new().with(Consecutive::new()).with(FailureRate::above(0.3));
/// # let _ = policy;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct AllOf {
    policies: Vec<Arc<dyn HealthPolicy>>,
}

impl AnyOf {
    /// Creates a combination without policies.
    pub const fn new() -> Self {
        let policies = Vec::new();
        Self { policies }
    }

    /// Adds a policy.
    pub fn with(mut self, policy: impl HealthPolicy + 'static) -> Self {
        self.policies.push(Arc::new(policy));
        self
    }
}

impl AllOf {
    /// Creates a combination without policies.
    pub const fn new() -> Self {
        let policies = Vec::new();
        Self { policies }
    }

    /// Adds a policy.
    pub fn with(mut self, policy: impl HealthPolicy + 'static) -> Self {
        self.policies.push(Arc::new(policy));
        self
    }
}

impl HealthPolicy for AnyOf {
    fn evaluator(&self) -> Box<dyn HealthEvaluator> {
        Box::new(Evaluators::of(&self.policies, Rule::Any))
    }
}

impl HealthPolicy for AllOf {
    fn evaluator(&self) -> Box<dyn HealthEvaluator> {
        Box::new(Evaluators::of(&self.policies, Rule::All))
    }
}

/// Evaluators of several policies, with the last verdict of each.
#[derive(Debug)]
struct Evaluators {
    judges: Vec<(Box<dyn HealthEvaluator>, Verdict)>,
    rule: Rule,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    Any,
    All,
}

impl Evaluators {
    fn of(policies: &[Arc<dyn HealthPolicy>], rule: Rule) -> Self {
        let judges = policies
            .iter()
            .map(|policy| (policy.evaluator(), Verdict::Healthy));
        Self {
            judges: judges.collect(),
            rule,
        }
    }

    fn against(&self) -> impl Iterator<Item = &dyn HealthEvaluator> {
        self.judges
            .iter()
            .filter(|(_, verdict)| *verdict == Verdict::Unhealthy)
            .map(|(judge, _)| &**judge)
    }
}

impl HealthEvaluator for Evaluators {
    fn observe(&mut self, event: &HealthEvent) {
        for (judge, _) in &mut self.judges {
            judge.observe(event);
        }
    }

    fn verdict(&mut self, now: Instant) -> Verdict {
        // All verdicts are taken each time, as an evaluator may drop old events in this call.
        for (judge, verdict) in &mut self.judges {
            *verdict = judge.verdict(now);
        }
        let against = self.against().count();
        let needed = match self.rule {
            Rule::Any => 1,
            Rule::All => self.judges.len().max(1),
        };
        if against >= needed {
            Verdict::Unhealthy
        } else {
            Verdict::Healthy
        }
    }

    fn changes_at(&self) -> Option<Instant> {
        self.judges
            .iter()
            .filter_map(|(judge, _)| judge.changes_at())
            .min()
    }

    fn cause(&self) -> Cow<'_, str> {
        let causes: Vec<_> = self.against().map(HealthEvaluator::cause).collect();
        causes.join("; ").into()
    }

    fn recovers_by_probes(&self) -> bool {
        let mut judges = self.judges.iter().map(|(judge, _)| judge);
        match self.rule {
            // Every evaluator that may find the upstream unhealthy must be able to change its
            // verdict.
            Rule::Any => judges.all(|judge| judge.recovers_by_probes()),
            Rule::All => judges.any(|judge| judge.recovers_by_probes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::health::{
        Consecutive, MaxFails, Signals,
        testing::{connect_failed, judged, probe_failed, probe_passed, secs},
    };
    use std::time::Duration;

    fn two() -> (Consecutive, MaxFails) {
        let probes = Consecutive::new().fails(1).passes(1);
        (probes, MaxFails::new(1, Duration::from_secs(10)))
    }

    #[test]
    fn any_of_two_is_enough_and_each_tells_its_cause() {
        let (probes, fails) = two();
        let mut judge = AnyOf::new().with(probes).with(fails).evaluator();
        let one = judged(&mut *judge, secs(0), connect_failed());
        assert_eq!(one, Verdict::Unhealthy);
        let refused = "1 failure within 10s: the upstream could not be connected";
        assert_eq!(judge.cause(), refused);
        judged(&mut *judge, secs(1), probe_failed());
        let probe = "1 consecutive probe failure: handshake timed out after 5s";
        assert_eq!(judge.cause(), format!("{probe}; {refused}"));
        assert_eq!(judge.changes_at(), Some(secs(10)));
        assert_eq!(judge.verdict(secs(10)), Verdict::Unhealthy);
        let passed = judged(&mut *judge, secs(11), probe_passed());
        assert_eq!(passed, Verdict::Healthy);
    }

    #[test]
    fn all_of_two_must_agree() {
        let (probes, fails) = two();
        let mut judge = AllOf::new().with(probes).with(fails).evaluator();
        let one = judged(&mut *judge, secs(0), connect_failed());
        assert_eq!(one, Verdict::Healthy);
        let both = judged(&mut *judge, secs(1), probe_failed());
        assert_eq!(both, Verdict::Unhealthy);
        assert_eq!(judge.verdict(secs(10)), Verdict::Healthy);
    }

    #[test]
    fn none_is_healthy() {
        assert_eq!(AnyOf::new().evaluator().verdict(secs(0)), Verdict::Healthy);
        assert_eq!(AllOf::new().evaluator().verdict(secs(0)), Verdict::Healthy);
    }

    #[test]
    fn whether_probes_lead_back_follows_from_the_parts() {
        let deaf = || Consecutive::new().signals(Signals::passive());
        let hearing = Consecutive::new;
        let any = AnyOf::new().with(deaf()).with(hearing());
        assert!(!any.evaluator().recovers_by_probes());
        let all = AllOf::new().with(deaf()).with(hearing());
        assert!(all.evaluator().recovers_by_probes());
    }
}
