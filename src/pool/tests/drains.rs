use tokio::time::Instant;

use crate::{ErrorKind, Registry, pool::OnUpstreamLoss};

use super::kit::{
    ObserverLog, Script, lease, member, named, open, pool, refuse, secs, start, used,
};

#[tokio::test(start_paused = true)]
async fn a_drained_upstream_gets_no_new_tunnels_until_it_is_resumed() {
    let pool = pool(&["a", "b"]).build();
    let log = ObserverLog::of(&pool);
    let now = Instant::now();
    assert!(pool.drain("a:80", OnUpstreamLoss::Leave));
    assert!(!pool.drain("nobody:80", OnUpstreamLoss::Leave));
    assert_eq!(used(&pool), ["b"]);
    assert_eq!(pool.snapshot()[0].draining, Some(now));
    for _ in 0..20 {
        let lease = lease(&pool).await.unwrap();
        assert_eq!(lease.member().upstream().name(), "b:80");
    }
    assert!(pool.resume("a:80"));
    assert!(!pool.resume("a:80"), "it is no more");
    assert_eq!(used(&pool), ["a", "b"]);
    assert_eq!(log.read(), ["a draining", "a resumed"]);
}

#[tokio::test(start_paused = true)]
async fn draining_outlives_changes_and_excludes_the_last_resort() {
    let pool = pool(&["a", "b"]).build();
    pool.drain("a:80", OnUpstreamLoss::Leave);
    pool.replace([named("a").weight(3), named("b")]);
    pool.add(named("a"));
    assert_eq!(used(&pool), ["b"]);
    for _ in 0..5 {
        refuse(&pool, "b");
    }
    // Without a probe an unhealthy upstream is better than none; a drained one is not.
    let picked = lease(&pool).await.unwrap();
    assert_eq!(picked.member().upstream().name(), "b:80");
    pool.remove("b:80");
    assert_eq!(lease(&pool).await.unwrap_err(), ErrorKind::NoUpstream);
}

#[tokio::test(start_paused = true)]
async fn old_tunnels_can_be_closed_at_any_time_of_the_drain() {
    let pool = pool(&["a", "b"]).build();
    let registry = Registry::new();
    let tunnel = open(&registry, &member(&pool, "a"));
    pool.drain("a:80", OnUpstreamLoss::Leave);
    assert!(tunnel.entry().take_command().is_none());
    pool.drain("a:80", OnUpstreamLoss::Close { spread: secs(60) });
    assert!(tunnel.entry().take_command().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_drained_upstream_is_still_probed() {
    let script = Script::default();
    let pool = pool(&["a", "b"]).probe(script.clone()).build();
    pool.drain("a:80", OnUpstreamLoss::Leave);
    start(&pool);
    tokio::time::sleep(secs(35)).await;
    assert!(script.probed("a").len() >= 3);
}

#[cfg(feature = "sticky")]
#[tokio::test(start_paused = true)]
async fn sticky_clients_of_a_drained_upstream_are_moved() {
    use crate::{
        Pool,
        http::{head::RequestHead, headers::ClientScheme},
        upstream::{admission::AdmissionKind, balance::Sticky},
    };

    let sticky = Sticky::new("up", [7; 32]).unwrap();
    let pool: Pool = pool(&["a", "b", "c"]).balance(sticky).build();
    let visit = |cookie: Option<String>| {
        let pool = pool.clone();
        async move {
            let mut request = http::Request::new(());
            if let Some(cookie) = cookie {
                request
                    .headers_mut()
                    .insert("cookie", cookie.parse().unwrap());
            }
            let head = RequestHead::from(&request);
            let lease = pool.lease(AdmissionKind::Tunnel, &head, &[]).await.unwrap();
            let set = pool.response_header(&lease, &head, ClientScheme::Http);
            let set = set.map(|(_, line)| {
                let line = line.to_str().unwrap();
                line.split(';').next().unwrap().to_owned()
            });
            (lease.member().shared_name(), set)
        }
    };
    let (home, cookie) = visit(None).await;
    assert_eq!(visit(cookie.clone()).await, (home.clone(), None));
    pool.drain(&home, OnUpstreamLoss::Leave);
    let (other, new_cookie) = visit(cookie).await;
    assert_ne!(other, home);
    assert!(new_cookie.is_some(), "the cookie is issued anew");
    assert_eq!(visit(new_cookie).await, (other, None));
}
