//! Panics of the host's policies and observers while the pool is edited.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::{Instant, advance};

use crate::{
    Registry,
    observe::{MembershipChange, Observer, UpstreamInfo},
    pool::{OnUpstreamLoss, Pool, PoolBuilder},
    upstream::health::{
        HealthEvaluator, HealthEvent, HealthPolicy, UpstreamView, Verdict,
        availability::{Admitted, Availability, FailClosed, HealthCounts, UpstreamHealth},
        outlier::{EventCounts, Outlier, OutlierPolicy},
    },
};

use super::kit::{lease, member, named, open, pool, refuse, secs, used};

/// Switch by which a policy of the test panics.
#[derive(Clone, Debug, Default)]
struct Broken(Arc<AtomicBool>);

impl Broken {
    fn set(&self, is_broken: bool) {
        self.0.store(is_broken, Ordering::Relaxed);
    }

    fn check(&self) {
        assert!(!self.0.load(Ordering::Relaxed), "this policy is broken");
    }
}

/// Availability policy that fails closed, and panics while it is broken.
#[derive(Clone, Debug, Default)]
struct Admits(Broken);

impl Availability for Admits {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        self.0.check();
        FailClosed.admit(pool)
    }
}

/// Availability policy that panics when it sees counts.
#[derive(Clone, Debug, Default)]
struct Counts(Broken);

impl Availability for Counts {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        FailClosed.admit(pool)
    }

    fn uses_the_healthy(&self, _: &HealthCounts) -> bool {
        self.0.check();
        true
    }
}

/// Health policy that panics for each upstream while it is broken.
#[derive(Clone, Debug, Default)]
struct Views(Broken);

impl HealthPolicy for Views {
    fn evaluator(&self) -> Box<dyn HealthEvaluator> {
        Box::new(Lenient(Broken::default()))
    }

    fn for_upstream(&self, _: &UpstreamView<'_>) -> Option<Arc<dyn HealthPolicy>> {
        self.0.check();
        None
    }
}

/// Health policy without evaluators while it is broken.
#[derive(Clone, Debug, Default)]
struct Makes(Broken);

impl HealthPolicy for Makes {
    fn evaluator(&self) -> Box<dyn HealthEvaluator> {
        self.0.check();
        Box::new(Lenient(Broken::default()))
    }
}

/// Evaluator that panics at the question for its next change while it is broken.
#[derive(Clone, Debug, Default)]
struct Lenient(Broken);

impl HealthEvaluator for Lenient {
    fn observe(&mut self, _: &HealthEvent) {}

    fn verdict(&mut self, _: Instant) -> Verdict {
        Verdict::Healthy
    }

    fn changes_at(&self) -> Option<Instant> {
        self.0.check();
        None
    }
}

/// Outlier policy without an interval while it is broken.
#[derive(Clone, Debug, Default)]
struct Compares(Broken);

impl OutlierPolicy for Compares {
    fn interval(&self) -> std::time::Duration {
        self.0.check();
        secs(10)
    }

    fn outliers(&self, _: &[EventCounts]) -> Vec<Outlier> {
        Vec::new()
    }
}

/// Removes an upstream with an open tunnel from a pool and adds another, while the policy is broken.
async fn edit(name: &str, builder: PoolBuilder, broken: &Broken) -> Pool {
    let pool = builder
        .removed_tunnels(OnUpstreamLoss::Close { spread: secs(0) })
        .build();
    let registry = Registry::new();
    let tunnel = open(&registry, &member(&pool, "a"));
    broken.set(true);
    assert!(pool.replace([named("b"), named("c")]), "{name}");
    assert!(tunnel.entry().take_command().is_some(), "{name}");
    assert_eq!(used(&pool), ["b", "c"], "{name}");
    let leased = lease(&pool).await.unwrap();
    assert_ne!(leased.member().upstream().name(), "a:80", "{name}");
    assert!(pool.drain("b:80", OnUpstreamLoss::Leave), "{name}");
    assert!(pool.resume("b:80"), "{name}");
    assert!(pool.add(named("d")), "{name}");
    assert_eq!(used(&pool), ["b", "c", "d"], "{name}");
    broken.set(false);
    pool
}

#[tokio::test(start_paused = true)]
async fn an_edit_is_made_whole_although_a_policy_of_the_host_panics() {
    let broken = Broken::default();
    let new = || pool(&["a", "b"]);
    let with = |builder: PoolBuilder| (builder, broken.clone());
    for (name, (builder, broken)) in [
        ("admit", with(new().availability(Admits(broken.clone())))),
        ("counts", with(new().availability(Counts(broken.clone())))),
        (
            "for_upstream",
            with(new().health_policy(Views(broken.clone()))),
        ),
        (
            "evaluator",
            with(new().health_policy(Makes(broken.clone()))),
        ),
        (
            "changes_at",
            with(new().health_policy(Lenient(broken.clone()))),
        ),
        ("interval", with(new().outliers(Compares(broken.clone())))),
    ] {
        edit(name, builder, &broken).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_availability_policy_that_has_panicked_is_called_again_a_second_later() {
    /// Policy that also uses the unhealthy upstreams.
    struct All(Broken);
    impl Availability for All {
        fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
            self.0.check();
            Admitted::all(pool)
        }
    }

    let broken = Broken::default();
    let pool = pool(&["a", "b"]).availability(All(broken.clone())).build();
    refuse(&pool, "a");
    assert_eq!(used(&pool), ["a", "b"]);
    broken.set(true);
    assert!(pool.add(named("c")));
    assert_eq!(used(&pool), ["b", "c"], "the healthy ones");
    broken.set(false);
    advance(secs(1)).await;
    assert_eq!(used(&pool), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_at_an_edit_keeps_no_tunnel_open_and_no_news_from_others() {
    #[derive(Debug)]
    struct PanickingObserver;
    impl Observer for PanickingObserver {
        fn upstream_changed(&self, _: &UpstreamInfo<'_>, _: MembershipChange) {
            panic!("dropped it");
        }
    }

    let pool = pool(&["a", "b"])
        .removed_tunnels(OnUpstreamLoss::Close { spread: secs(0) })
        .build();
    let clumsy: Arc<dyn Observer> = Arc::new(PanickingObserver);
    pool.attach_observer(&clumsy);
    let log = super::kit::ObserverLog::of(&pool);
    let registry = Registry::new();
    let tunnel = open(&registry, &member(&pool, "a"));
    assert!(pool.remove("a:80"));
    assert!(tunnel.entry().take_command().is_some());
    assert_eq!(log.read(), ["a removed"]);
}
