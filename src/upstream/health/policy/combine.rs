//! Combinations of several health policies.

use std::{borrow::Cow, sync::Arc};

use tokio::time::Instant;

use super::{
    health_policy::{HealthEvaluator, HealthPolicy, Verdict},
    upstream_view::UpstreamView,
};
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

    fn for_upstream(&self, upstream: &UpstreamView<'_>) -> Option<Arc<dyn HealthPolicy>> {
        let policies = for_upstream(&self.policies, upstream)?;
        Some(Arc::new(Self { policies }))
    }
}

impl HealthPolicy for AllOf {
    fn evaluator(&self) -> Box<dyn HealthEvaluator> {
        Box::new(Evaluators::of(&self.policies, Rule::All))
    }

    fn for_upstream(&self, upstream: &UpstreamView<'_>) -> Option<Arc<dyn HealthPolicy>> {
        let policies = for_upstream(&self.policies, upstream)?;
        Some(Arc::new(Self { policies }))
    }
}

/// Returns the policies of which at least one is another for this upstream.
fn for_upstream(
    policies: &[Arc<dyn HealthPolicy>],
    upstream: &UpstreamView<'_>,
) -> Option<Vec<Arc<dyn HealthPolicy>>> {
    let others: Vec<_> = policies
        .iter()
        .map(|policy| policy.for_upstream(upstream))
        .collect();
    others.iter().any(Option::is_some).then(|| {
        let policies = others.into_iter().zip(policies);
        policies
            .map(|(other, policy)| other.unwrap_or_else(|| Arc::clone(policy)))
            .collect()
    })
}

/// Evaluators of several policies, with the last verdict of each.
#[derive(Debug)]
struct Evaluators {
    evaluators: Vec<(Box<dyn HealthEvaluator>, Verdict)>,
    rule: Rule,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    Any,
    All,
}

impl Evaluators {
    fn of(policies: &[Arc<dyn HealthPolicy>], rule: Rule) -> Self {
        let evaluators = policies
            .iter()
            .map(|policy| (policy.evaluator(), Verdict::Healthy));
        Self {
            evaluators: evaluators.collect(),
            rule,
        }
    }

    fn unhealthy(&self) -> impl Iterator<Item = &dyn HealthEvaluator> {
        self.evaluators
            .iter()
            .filter(|(_, verdict)| *verdict == Verdict::Unhealthy)
            .map(|(evaluator, _)| &**evaluator)
    }
}

impl HealthEvaluator for Evaluators {
    fn observe(&mut self, event: &HealthEvent) {
        for (evaluator, _) in &mut self.evaluators {
            evaluator.observe(event);
        }
    }

    fn verdict(&mut self, now: Instant) -> Verdict {
        // All verdicts are taken each time, as an evaluator may drop old events in this call.
        for (evaluator, verdict) in &mut self.evaluators {
            *verdict = evaluator.verdict(now);
        }
        let unhealthy = self.unhealthy().count();
        let needed = match self.rule {
            Rule::Any => 1,
            Rule::All => self.evaluators.len().max(1),
        };
        if unhealthy >= needed {
            Verdict::Unhealthy
        } else {
            Verdict::Healthy
        }
    }

    fn changes_at(&self) -> Option<Instant> {
        self.evaluators
            .iter()
            .filter_map(|(evaluator, _)| evaluator.changes_at())
            .min()
    }

    fn cause(&self) -> Cow<'_, str> {
        let causes: Vec<_> = self.unhealthy().map(HealthEvaluator::cause).collect();
        // A cause that another one quotes is not repeated.
        let is_quoted = |cause: &str| {
            let mut others = causes.iter().filter(|other| other.len() > cause.len());
            others.any(|other| other.contains(cause))
        };
        let said = causes
            .iter()
            .map(AsRef::as_ref)
            .filter(|cause| !is_quoted(cause));
        said.collect::<Vec<&str>>().join("; ").into()
    }

    fn recovers_by_probes(&self) -> bool {
        match self.rule {
            // Every evaluator that finds the upstream unhealthy must be able to change its verdict.
            Rule::Any => self.unhealthy().all(HealthEvaluator::recovers_by_probes),
            Rule::All => self.unhealthy().any(HealthEvaluator::recovers_by_probes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::health::{
        Consecutive, EventFilter, HealthEventKind, MaxFails,
        testing::{connect_failed, probe_failed, probe_passed, secs, verdict_after},
    };
    use std::time::Duration;

    fn two() -> (Consecutive, MaxFails) {
        let probes = Consecutive::new().fails(1).passes(1);
        (probes, MaxFails::new(1, Duration::from_secs(10)))
    }

    #[test]
    fn any_of_two_is_enough_and_each_has_its_cause() {
        let (probes, fails) = two();
        let mut evaluator = AnyOf::new().with(probes).with(fails).evaluator();
        let one = verdict_after(&mut *evaluator, secs(0), connect_failed());
        assert_eq!(one, Verdict::Unhealthy);
        let refused = "1 failure within 10s: the upstream could not be connected";
        assert_eq!(evaluator.cause(), refused);
        verdict_after(&mut *evaluator, secs(1), probe_failed());
        let probe = "1 consecutive probe failure: handshake timed out after 5s";
        assert_eq!(evaluator.cause(), format!("{probe}; {refused}"));
        assert_eq!(evaluator.changes_at(), Some(secs(10)));
        assert_eq!(evaluator.verdict(secs(10)), Verdict::Unhealthy);
        let passed = verdict_after(&mut *evaluator, secs(11), probe_passed());
        assert_eq!(passed, Verdict::Healthy);
    }

    #[test]
    fn all_of_two_must_agree() {
        let (probes, fails) = two();
        let mut evaluator = AllOf::new().with(probes).with(fails).evaluator();
        let one = verdict_after(&mut *evaluator, secs(0), connect_failed());
        assert_eq!(one, Verdict::Healthy);
        let both = verdict_after(&mut *evaluator, secs(1), probe_failed());
        assert_eq!(both, Verdict::Unhealthy);
        assert_eq!(evaluator.verdict(secs(10)), Verdict::Healthy);
    }

    #[test]
    fn none_is_healthy() {
        assert_eq!(AnyOf::new().evaluator().verdict(secs(0)), Verdict::Healthy);
        assert_eq!(AllOf::new().evaluator().verdict(secs(0)), Verdict::Healthy);
    }

    #[test]
    fn whether_probes_lead_back_follows_from_the_parts() {
        let deaf = || Consecutive::new().fails(1).counting(EventFilter::passive());
        let hearing = || Consecutive::new().fails(1);
        let recovers = |mut evaluator: Box<dyn HealthEvaluator>, kinds: &[HealthEventKind]| {
            for kind in kinds {
                verdict_after(&mut *evaluator, secs(0), kind.clone());
            }
            evaluator.recovers_by_probes()
        };
        let any = || AnyOf::new().with(deaf()).with(hearing()).evaluator();
        let both = [connect_failed(), probe_failed()];
        assert!(recovers(any(), &[probe_failed()]));
        assert!(!recovers(any(), &[connect_failed()]));
        assert!(!recovers(any(), &both));
        let all = AllOf::new().with(deaf()).with(hearing());
        assert!(recovers(all.evaluator(), &both));
    }

    #[test]
    fn a_cause_that_another_one_quotes_is_not_repeated() {
        let (probes, fails) = two();
        let both = AnyOf::new().with(probes.clone()).with(fails);
        let mut evaluator = AnyOf::new().with(probes).with(both).evaluator();
        verdict_after(&mut *evaluator, secs(0), connect_failed());
        verdict_after(&mut *evaluator, secs(1), probe_failed());
        let cause = evaluator.cause();
        assert_eq!(cause.matches("consecutive probe failure").count(), 1);
        assert_eq!(cause.matches("failure within 10s").count(), 1);
    }

    /// A policy that allows one more failure in the zone `far`.
    struct ByZone;

    impl HealthPolicy for ByZone {
        fn evaluator(&self) -> Box<dyn HealthEvaluator> {
            Consecutive::new().fails(1).evaluator()
        }

        fn for_upstream(&self, upstream: &UpstreamView<'_>) -> Option<Arc<dyn HealthPolicy>> {
            let is_far = upstream.tag("zone") == Some("far");
            is_far.then(|| Arc::new(Consecutive::new().fails(2)) as _)
        }
    }

    #[test]
    fn a_combination_is_another_one_where_one_of_its_policies_is() {
        let (_, seldom) = two();
        let policies: [Arc<dyn HealthPolicy>; 2] = [
            Arc::new(AnyOf::new().with(ByZone).with(Arc::new(ByZone))),
            Arc::new(AllOf::new().with(ByZone).with(ByZone)),
        ];
        let tags =
            [("zone", "near"), ("zone", "far")].map(|(key, value)| (key.into(), value.into()));
        let far = UpstreamView::new("u:80", 1, &tags);
        let near = UpstreamView::new("u:80", 1, &tags[..1]);
        for policy in policies {
            assert!(policy.for_upstream(&near).is_none());
            let policy = policy.for_upstream(&far).unwrap();
            assert_eq!(format!("{policy:?}"), "HealthPolicy");
            let mut evaluator = policy.evaluator();
            assert_eq!(format!("{evaluator:?}"), "HealthEvaluator");
            let first = verdict_after(&mut *evaluator, secs(0), probe_failed());
            assert_eq!(first, Verdict::Healthy);
            let second = verdict_after(&mut *evaluator, secs(1), probe_failed());
            assert_eq!(second, Verdict::Unhealthy);
        }
        assert!(AnyOf::new().with(seldom).for_upstream(&far).is_none());
    }
}
