use super::*;
use crate::upstream::discovery::dns::testing::*;

fn dns(zone: &Fake) -> Dns {
    Dns {
        resolver: zone.resolver(),
        ..Dns::addresses("chat.", 8080).unwrap()
    }
}

async fn names(dns: &mut Dns) -> Vec<String> {
    let found = dns.discover().await.unwrap().unwrap();
    found.iter().map(|it| it.name().to_owned()).collect()
}

async fn failure(dns: &mut Dns) -> DiscoverError {
    dns.discover().await.unwrap().unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn the_set_is_sorted_and_each_address_is_in_it_once() {
    let zone = Fake::default();
    let mut dns = dns(&zone);
    zone.set(|zone| zone.v4 = ips(&["10.0.0.10", "10.0.0.9", "10.0.0.10"], 5));
    let first = dns.discover().await.unwrap().unwrap();
    zone.set(|zone| zone.v4 = ips(&["10.0.0.9", "10.0.0.10"], 5));
    assert_eq!(dns.discover().await.unwrap().unwrap(), first);
    let expected = ["ws://10.0.0.9:8080", "ws://10.0.0.10:8080"];
    assert_eq!(first, expected.map(|url| Upstream::new(url).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn the_next_query_follows_the_ttl_within_bounds() {
    let zone = Fake::default();
    let mut dns = dns(&zone).refresh(secs(2), secs(100));
    for (ttl, least, most) in [(20, 20.0, 22.01), (0, 2.0, 2.21), (3600, 90.0, 100.01)] {
        zone.set(|zone| zone.v4 = ips(&["10.0.0.1"], ttl));
        names(&mut dns).await;
        let answered = Instant::now();
        names(&mut dns).await;
        let waited = answered.elapsed().as_secs_f64();
        assert!((least..=most).contains(&waited), "{ttl}: {waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_without_a_set_are_retried_soon_then_ever_later() {
    let zone = Fake::default();
    let mut dns = dns(&zone);
    zone.set(|zone| zone.v4 = broken());
    for _ in 0..60 {
        assert_eq!(failure(&mut dns).await.to_string(), "SERVFAIL");
    }
    let asked: Vec<_> = zone.asked().iter().map(|(at, _)| *at).collect();
    let gaps: Vec<_> = asked
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect();
    for (gap, limit) in gaps.iter().zip([1.0, 2.0, 4.0, 8.0, 10.0, 10.0]) {
        assert!((limit / 2.0..=limit + 0.01).contains(gap), "{gaps:?}");
    }
    zone.set(|zone| zone.v4 = ips(&["10.0.0.2"], 60));
    assert_eq!(names(&mut dns).await, ["10.0.0.2:8080"]);
}

#[tokio::test(start_paused = true)]
async fn silence_is_bounded() {
    let zone = Fake::default();
    let mut dns = dns(&zone).query_timeout(secs(4));
    let began = Instant::now();
    let error = failure(&mut dns).await;
    assert_eq!(error.to_string(), "no response within 4s");
    assert_eq!(began.elapsed(), secs(4));
}

#[tokio::test(start_paused = true)]
async fn without_records_the_set_is_kept_for_the_grace_and_then_it_is_empty() {
    let zone = Fake::default();
    let mut dns = dns(&zone).empty_grace(secs(30));
    zone.set(|zone| zone.v4 = ips(&["10.0.0.1"], 5));
    names(&mut dns).await;
    zone.set(|zone| (zone.v4, zone.v6) = (no_records(), no_records()));
    let mut empty_since = None;
    let emptied = loop {
        match dns.discover().await.unwrap() {
            Ok(upstreams) => break upstreams,
            Err(DiscoverError::NoRecords { .. }) => {
                empty_since.get_or_insert_with(Instant::now);
            }
            Err(error) => panic!("{error}"),
        }
        // A failure in between neither ends the grace nor restarts it.
        zone.set(|zone| zone.v4 = broken());
        failure(&mut dns).await;
        zone.set(|zone| zone.v4 = no_records());
    };
    assert!(emptied.is_empty());
    let kept = empty_since.unwrap().elapsed();
    assert!((secs(30)..=secs(42)).contains(&kept), "{kept:?}");
    // The queries go on.
    zone.set(|zone| zone.v4 = ips(&["10.0.0.2"], 5));
    let before = Instant::now();
    assert_eq!(names(&mut dns).await, ["10.0.0.2:8080"]);
    assert!(before.elapsed() <= secs(10));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_grace_is_not_overslept() {
    let zone = Fake::default();
    let mut dns = dns(&zone).empty_grace(secs(3));
    zone.set(|zone| (zone.v4, zone.v6) = (no_records(), no_records()));
    failure(&mut dns).await;
    let began = Instant::now();
    let asked = loop {
        if dns.discover().await.unwrap().is_ok() {
            break zone.asked().len();
        }
    };
    assert!(began.elapsed() <= Duration::from_millis(4_001));
    assert!(asked <= 20, "{asked} questions");
}

#[tokio::test(start_paused = true)]
async fn failures_keep_a_set_and_are_rechecked_every_30_s_rfc8767_5() {
    let zone = Fake::default();
    let mut dns = dns(&zone);
    zone.set(|zone| zone.v4 = ips(&["10.0.0.1"], 5));
    names(&mut dns).await;
    zone.set(|zone| zone.v4 = broken());
    // Ten minutes, far longer than the grace for empty results.
    for _ in 0..20 {
        assert_eq!(failure(&mut dns).await.to_string(), "SERVFAIL");
    }
    let asked: Vec<_> = zone.asked().iter().map(|(at, _)| *at).collect();
    for pair in asked[1..].windows(2) {
        let gap = (pair[1] - pair[0]).as_secs_f64();
        assert!((30.0..=33.01).contains(&gap), "{gap}");
    }
    zone.set(|zone| zone.v4 = ips(&["10.0.0.2"], 60));
    assert_eq!(names(&mut dns).await, ["10.0.0.2:8080"]);
}

#[tokio::test(start_paused = true)]
async fn addresses_do_not_outlive_a_failing_dns_for_ever() {
    let zone = Fake::default();
    let mut dns = dns(&zone);
    zone.set(|zone| zone.v4 = ips(&["10.0.0.1"], 5));
    names(&mut dns).await;
    let found_at = Instant::now();
    zone.set(|zone| zone.v4 = broken());
    let emptied = loop {
        match dns.discover().await.unwrap() {
            Ok(set) => break set,
            Err(error) => assert_eq!(error.to_string(), "SERVFAIL"),
        }
    };
    assert!(emptied.is_empty());
    let kept = found_at.elapsed().as_secs_f64();
    assert!((3605.0..=3605.1).contains(&kept), "{kept}");
    // The queries go on, and soon.
    zone.set(|zone| zone.v4 = ips(&["10.0.0.1"], 5));
    assert_eq!(names(&mut dns).await, ["10.0.0.1:8080"]);
    assert!(found_at.elapsed() <= secs(3607));
}

#[tokio::test(start_paused = true)]
async fn the_targets_of_a_service_outlive_a_failing_dns() {
    let zone = Fake::default();
    let mut dns = Dns {
        resolver: zone.resolver(),
        ..Dns::services("_ws._tcp.chat.example.").unwrap()
    };
    zone.set(|zone| zone.srv = one_service("chat-0.chat.example.", 5));
    names(&mut dns).await;
    zone.set(|zone| zone.srv = broken());
    let began = Instant::now();
    while began.elapsed() < secs(24 * 3600) {
        failure(&mut dns).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_grace_of_zero_empties_at_once() {
    let zone = Fake::default();
    zone.set(|zone| (zone.v4, zone.v6) = (no_records(), no_records()));
    let mut dns = dns(&zone).empty_grace(Duration::ZERO);
    assert!(names(&mut dns).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn families_are_queried_as_set() {
    let (v4, v6) = (["10.0.0.1"], ["fd00::1"]);
    for (families, has_v4, has_v6, expected) in [
        (
            IpFamilies::PreferV4,
            ips(&v4, 5),
            ips(&v6, 5),
            "10.0.0.1:8080",
        ),
        (
            IpFamilies::PreferV4,
            no_records(),
            ips(&v6, 5),
            "[fd00::1]:8080",
        ),
        (IpFamilies::PreferV4, broken(), ips(&v6, 5), "SERVFAIL"),
        (
            IpFamilies::PreferV6,
            ips(&v4, 5),
            ips(&v6, 5),
            "[fd00::1]:8080",
        ),
        (
            IpFamilies::PreferV6,
            ips(&v4, 5),
            no_records(),
            "10.0.0.1:8080",
        ),
        (IpFamilies::OnlyV4, ips(&v4, 5), broken(), "10.0.0.1:8080"),
        (
            IpFamilies::OnlyV4,
            no_records(),
            ips(&v6, 5),
            "chat. has no records",
        ),
        (IpFamilies::OnlyV6, broken(), ips(&v6, 5), "[fd00::1]:8080"),
        (
            IpFamilies::Both,
            ips(&v4, 5),
            ips(&v6, 5),
            "10.0.0.1:8080 [fd00::1]:8080",
        ),
        (IpFamilies::Both, ips(&v4, 5), no_records(), "10.0.0.1:8080"),
        (
            IpFamilies::Both,
            no_records(),
            ips(&v6, 5),
            "[fd00::1]:8080",
        ),
        // Half a result would remove the other half of the pool.
        (IpFamilies::Both, ips(&v4, 5), broken(), "SERVFAIL"),
        (IpFamilies::Both, broken(), ips(&v6, 5), "SERVFAIL"),
        (
            IpFamilies::Both,
            no_records(),
            no_records(),
            "chat. has no records",
        ),
    ] {
        let zone = Fake::default();
        zone.set(|zone| (zone.v4, zone.v6) = (has_v4, has_v6));
        let mut dns = dns(&zone).families(families);
        let found = match dns.discover().await.unwrap() {
            Ok(found) => found
                .iter()
                .map(Upstream::name)
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{families:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_record_sets_the_shorter_ttl_counts() {
    let zone = Fake::default();
    zone.set(|zone| (zone.v4, zone.v6) = (ips(&["10.0.0.1"], 60), ips(&["::1"], 5)));
    let mut dns = dns(&zone).families(IpFamilies::Both);
    names(&mut dns).await;
    let answered = Instant::now();
    names(&mut dns).await;
    assert!(answered.elapsed() < secs(6));
}

#[tokio::test(start_paused = true)]
async fn services_have_their_own_ports_and_weights_and_targets_stay_names_rfc2782() {
    let zone = Fake::default();
    let service = |priority, weight, target: &str| Service {
        priority,
        weight,
        port: 8080,
        target: target.to_owned(),
    };
    let answer = |records| {
        Some(Ok(RecordSet {
            records,
            ttl: secs(5),
        }))
    };
    zone.set(|zone| {
        zone.srv = answer(vec![
            service(1, 30, "chat-1.chat.example."),
            service(2, 10, "spare.example."),
            service(1, 60, "chat-0.chat.example."),
        ]);
    });
    let mut dns = Dns {
        resolver: zone.resolver(),
        ..Dns::services("_ws._tcp.chat.example.").unwrap()
    };
    let found = dns.discover().await.unwrap().unwrap();
    let expected = [("chat-0.chat.example.", 2), ("chat-1.chat.example.", 1)]
        .map(|(host, weight)| Upstream::from_address(Address::tcp(host, 8080)).weight(weight));
    assert_eq!(found, expected);
    assert_eq!(zone.asked().len(), 1, "targets are not looked up");

    let nowhere = Service {
        port: 0,
        ..service(0, 0, "chat-0.chat.example.")
    };
    zone.set(|zone| zone.srv = answer(vec![nowhere]));
    let useless = dns.discover().await.unwrap().unwrap_err();
    assert!(
        matches!(useless, DiscoverError::NoRecords { .. }),
        "kept for its grace: {useless}"
    );

    zone.set(|zone| zone.srv = answer(vec![service(0, 0, ".")]));
    assert!(names(&mut dns).await.is_empty(), "decidedly not available");
}

#[tokio::test(start_paused = true)]
async fn certificates_are_for_the_name_that_was_looked_up() {
    let zone = Fake::default();
    zone.set(|zone| zone.v4 = ips(&["10.0.0.1"], 5));
    let found = dns(&zone).tls().discover().await.unwrap().unwrap();
    assert_eq!(
        *found[0].address(),
        Address::tls_with_server_name("chat", "10.0.0.1", 8080)
    );
    let found = dns(&zone)
        .tls_with_server_name("other")
        .discover()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found[0].address().server_name(), Some("other"));
    let service = Dns::services("_wss._tcp.chat.example.").unwrap().tls();
    assert!(matches!(service.security, Security::Tls(name) if name == "chat.example"));
}

#[test]
fn invalid_names_are_refused() {
    for (refused, words) in [
        (Dns::addresses("", 80), "it is empty"),
        (Dns::addresses("chat", 0), "its port must not be zero"),
        (Dns::addresses("10.0.0.1", 80), "needs no discovery"),
        (Dns::services("_ws._tcp..example"), "each of its labels"),
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
