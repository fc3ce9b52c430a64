use http::header::{COOKIE, HeaderValue};
use tokio::time::sleep;

use crate::{
    http::{head::RequestHead, headers::ClientScheme},
    pool::{Lease, Pool},
    upstream::admission::AdmissionKind,
    upstream::balance::{AnyBalance, Candidates, First, Rendezvous},
    upstream::health::{Ejection, HealthControl},
};

use super::kit::{self, accept, pool, refuse, secs, states};

/// Client that sends the cookies it has got.
#[derive(Debug, Default)]
struct Client(http::Request<()>);

impl Client {
    async fn lease(&mut self, pool: &Pool) -> Lease {
        let head = RequestHead::from(&self.0);
        let lease = pool.lease(AdmissionKind::Tunnel, &head, &[]).await.unwrap();
        let header = pool.response_header(&lease, &head, ClientScheme::Http);
        if let Some((_, line)) = header {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            let pair = HeaderValue::from_str(pair).unwrap();
            self.0.headers_mut().insert(COOKIE, pair);
        }
        lease
    }
}

fn name(lease: &Lease) -> String {
    lease.member().upstream().name().replace(":80", "")
}

#[tokio::test(start_paused = true)]
async fn a_policy_by_identity_sends_one_client_at_a_time_to_a_half_open_upstream() {
    #[cfg_attr(not(feature = "sticky"), allow(unused_mut))]
    let mut policies = vec![
        AnyBalance::new(First::new()),
        AnyBalance::new(Rendezvous::by_path()),
        AnyBalance::new(Rendezvous::by_path().bounded_load(100.0)),
        AnyBalance::new(|candidates: &Candidates<'_>, _: &RequestHead<'_>| {
            let named_a = candidates
                .iter()
                .position(|candidate| candidate.name() == "a:80");
            named_a.or(Some(0))
        }),
    ];
    #[cfg(feature = "sticky")]
    policies.push({
        use crate::upstream::balance::Sticky;
        AnyBalance::new(Sticky::new("up", [7; 32]).unwrap())
    });
    for policy in policies {
        let pool = pool(&["a", "b"])
            .ejection(Ejection::new().jitter(0.0))
            .balance(policy.clone())
            .build();
        let mut client = Client::default();
        let home = name(&client.lease(&pool).await);
        refuse(&pool, &home);
        sleep(secs(10)).await;
        assert!(states(&pool).contains(&"half-open".to_owned()));
        let trial = client.lease(&pool).await;
        assert_eq!(name(&trial), home, "{policy:?}");
        let mut second = Client(client.0.clone());
        let other = name(&second.lease(&pool).await);
        assert_ne!(other, home, "{policy:?}");
        // Better to wait with another client than to have none.
        pool.remove(&format!("{other}:80"));
        let last = name(&second.lease(&pool).await);
        assert_eq!(last, home, "{policy:?}");
        drop(trial);
        accept(&pool, &home);
        pool.add(super::kit::named(&other));
        for _ in 0..2 {
            let lease = client.lease(&pool).await;
            assert_eq!(name(&lease), home, "{policy:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_open_upstream_that_the_operator_finds_healthy_gets_all_clients() {
    for control in [HealthControl::ForcedHealthy, HealthControl::Auto] {
        let pool = pool(&["a", "b"])
            .ejection(Ejection::new().jitter(0.0))
            .balance(First::new())
            .build();
        refuse(&pool, "a");
        sleep(secs(10)).await;
        assert_eq!(states(&pool)[0], "half-open");
        assert!(pool.control_health("a:80", control));
        assert_eq!(states(&pool)[0], "healthy");
        let leases = [
            kit::lease(&pool).await.unwrap(),
            kit::lease(&pool).await.unwrap(),
            kit::lease(&pool).await.unwrap(),
        ];
        assert_eq!(leases.each_ref().map(name), ["a", "a", "a"], "{control:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_of_health_limits_no_half_open_upstream_and_begins_no_slow_start() {
    let pool = pool(&["a", "b"])
        .report_health_only()
        .slow_start(secs(60))
        .ejection(Ejection::new().jitter(0.0))
        .balance(First::new())
        .build();
    refuse(&pool, "a");
    sleep(secs(2)).await;
    assert!(states(&pool)[0].starts_with("unhealthy"));
    let doubted = kit::lease(&pool).await.unwrap();
    assert_eq!(
        name(&doubted),
        "a",
        "doubted for a second, as any that fails"
    );
    sleep(secs(8)).await;
    assert_eq!(states(&pool)[0], "half-open");
    let first = kit::lease(&pool).await.unwrap();
    let second = kit::lease(&pool).await.unwrap();
    assert_eq!([name(&first), name(&second)], ["a", "a"], "used as ever");
    accept(&pool, "a");
    assert_eq!(states(&pool)[0], "healthy");
    assert!(!kit::member(&pool, "a").is_slow_starting());
}
