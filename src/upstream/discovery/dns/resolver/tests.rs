use std::sync::Mutex;

use tokio::{
    task::JoinSet,
    time::{Instant, advance, sleep, timeout},
};

use super::*;
use crate::{
    Pool,
    net::connect::Resolve,
    upstream::discovery::dns::{
        Dns,
        testing::{Fake, broken, ips, no_records, one_service, secs},
    },
};

/// A resolver, and the events that it reports.
fn observed(zone: &Fake) -> (DnsResolver, Arc<Mutex<Vec<String>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&events);
    let receive = move |event: &DnsEvent| log.lock().unwrap().push(event.to_string());
    (zone.resolver().on_event(receive), events)
}

/// Looks up a name as a connect does; the addresses, or the error.
async fn look_up(resolver: &DnsResolver, name: &str) -> String {
    match resolver.resolve(name, 80).await {
        Ok(found) => {
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            found.join(" ")
        }
        Err(error) => error.to_string(),
    }
}

fn taken(events: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut events.lock().unwrap())
}

/// A zone in which `chat-0.` has an IPv4 address, valid for ten seconds.
fn zone() -> Fake {
    let zone = Fake::default();
    zone.set(|zone| (zone.v4, zone.v6) = (ips(&["10.0.0.1"], 10), no_records()));
    zone
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_fails_does_not_cost_another_name_its_records() {
    let zone = zone();
    let resolver = zone.resolver();
    assert_eq!(look_up(&resolver, "chat-0.").await, "10.0.0.1:80");
    zone.set(|zone| (zone.v4, zone.v6) = (broken(), broken()));
    assert_eq!(look_up(&resolver, "chat-1.").await, "SERVFAIL");
    zone.asked();
    assert_eq!(look_up(&resolver, "chat-0.").await, "10.0.0.1:80");
    let asked = zone.asked();
    assert!(asked.iter().all(|(_, kind)| *kind == "AAAA"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dns_outage_leaves_the_last_addresses_and_is_reported() {
    let zone = zone();
    let (resolver, events) = observed(&zone);
    look_up(&resolver, "chat-0.").await;
    for outage in [broken(), None] {
        zone.set(|zone| (zone.v4, zone.v6) = (outage.clone(), outage));
        advance(secs(11)).await;
        let began = Instant::now();
        for _ in 0..60 {
            assert_eq!(look_up(&resolver, "chat-0.").await, "10.0.0.1:80");
            advance(secs(10)).await;
        }
        let waits = began.elapsed() - secs(600);
        assert!(waits < secs(60), "{waits:?}");
        let asked = zone.asked().iter().filter(|(_, kind)| *kind == "A").count();
        assert!(asked <= 22, "{asked} queries in ten minutes");
        let said = taken(&events);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains("the last addresses of chat-0. stay in use"),
            "{said:?}"
        );

        zone.set(|zone| (zone.v4, zone.v6) = (ips(&["10.0.0.1"], 10), no_records()));
        advance(secs(40)).await;
        assert_eq!(look_up(&resolver, "chat-0.").await, "10.0.0.1:80");
        assert_eq!(taken(&events), ["chat-0. is resolved again"]);
        zone.asked();
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_delays_the_first_lookup_of_an_outage_alone_rfc8767_5() {
    let zone = zone();
    let resolver = zone.resolver();
    look_up(&resolver, "chat-0.").await;
    zone.set(|zone| (zone.v4, zone.v6) = (None, None));
    advance(secs(11)).await;
    for longest in [1900, 60, 60] {
        let began = Instant::now();
        assert_eq!(look_up(&resolver, "chat-0.").await, "10.0.0.1:80");
        let waited = began.elapsed();
        assert!(waited <= Duration::from_millis(longest), "{waited:?}");
    }
}

/// A connector drops a lookup after two thirds of the connect timeout.
#[tokio::test(start_paused = true)]
async fn a_lookup_with_little_time_uses_the_last_addresses_before_that_is_over() {
    let zone = zone();
    let resolver = zone.resolver();
    look_up(&resolver, "chat-0.").await;
    zone.set(|zone| (zone.v4, zone.v6) = (None, None));
    advance(secs(11)).await;
    let limit = Duration::from_millis(600);
    for longest in [limit, Duration::from_millis(60)] {
        let began = Instant::now();
        let lookup = resolver.resolve_within("chat-0.", 80, limit);
        let found = timeout(limit, lookup).await.unwrap().unwrap();
        assert_eq!(found, ["10.0.0.1:80".parse().unwrap()]);
        let waited = began.elapsed();
        assert!(waited < longest, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn fresh_records_are_not_queried_again_while_the_other_family_recovers() {
    let zone = Fake::default();
    zone.set(|zone| (zone.v4, zone.v6) = (ips(&["10.0.0.1"], 10), broken()));
    let resolver = zone.resolver();
    assert_eq!(look_up(&resolver, "chat-0.").await, "10.0.0.1:80");
    zone.set(|zone| zone.v6 = ips(&["fd00::1"], 10));
    let mut queries = Vec::new();
    for expected in ["10.0.0.1:80", "[fd00::1]:80 10.0.0.1:80"] {
        queries.push(zone.asked().len());
        for _ in 0..3 {
            assert_eq!(look_up(&resolver, "chat-0.").await, expected);
        }
        advance(secs(1)).await;
    }
    let last = zone.asked();
    assert_eq!(queries, [2, 0]);
    assert!(matches!(last[..], [(_, "AAAA")]), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_gone_has_no_addresses_however_good_they_were() {
    let zone = zone();
    let resolver = zone.resolver();
    look_up(&resolver, "chat-0.").await;
    zone.set(|zone| zone.v4 = no_records());
    advance(secs(11)).await;
    assert_eq!(
        look_up(&resolver, "chat-0.").await,
        "chat-0. has no records"
    );
    zone.set(|zone| zone.v4 = broken());
    assert_eq!(
        look_up(&resolver, "chat-0.").await,
        "chat-0. has no records"
    );
}

#[tokio::test(start_paused = true)]
async fn an_hour_is_the_end_of_the_last_addresses() {
    let zone = zone();
    let (resolver, events) = observed(&zone);
    look_up(&resolver, "chat-0.").await;
    zone.set(|zone| zone.v4 = broken());
    advance(secs(3609)).await;
    assert_eq!(look_up(&resolver, "chat-0.").await, "10.0.0.1:80");
    taken(&events);
    advance(secs(1)).await;
    assert_eq!(look_up(&resolver, "chat-0.").await, "SERVFAIL");
    assert_eq!(
        taken(&events),
        ["the last addresses of chat-0. are too old"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_stale_address_that_cannot_be_connected_is_dropped() {
    let zone = Fake::default();
    zone.set(|zone| zone.v4 = ips(&["10.0.0.1", "10.0.0.2"], 10));
    zone.set(|zone| zone.v6 = no_records());
    let (resolver, events) = observed(&zone);
    let failing = SocketAddr::from(([10, 0, 0, 1], 80));
    look_up(&resolver, "chat-0.").await;
    resolver.connect_failed("chat-0.", failing);
    assert_eq!(
        look_up(&resolver, "chat-0.").await,
        "10.0.0.1:80 10.0.0.2:80"
    );
    zone.set(|zone| zone.v4 = broken());
    advance(secs(11)).await;
    assert_eq!(
        look_up(&resolver, "chat-0.").await,
        "10.0.0.1:80 10.0.0.2:80"
    );
    taken(&events);
    resolver.connect_failed("chat-0.", failing);
    resolver.connect_failed("chat-0.", failing);
    assert_eq!(look_up(&resolver, "chat-0.").await, "10.0.0.2:80");
    assert_eq!(
        taken(&events),
        ["10.0.0.1, a last address of chat-0., failed and is dropped"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_thousand_clients_make_one_query() {
    let zone = zone();
    let resolver = zone.resolver();
    zone.set(|zone| zone.v4 = None);
    let mut clients = JoinSet::new();
    for _ in 0..1000 {
        let resolver = resolver.clone();
        clients.spawn(async move {
            let found = timeout(secs(3), look_up(&resolver, "chat-0.")).await;
            assert!(found.is_err(), "{found:?}");
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let asked = zone.asked();
    assert_eq!(asked.iter().filter(|(_, kind)| *kind == "A").count(), 1);
    assert!(asked.len() <= 3, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_of_events_that_panics_harms_no_lookup() {
    let zone = zone();
    let resolver = zone.resolver().on_event(|_| panic!("dropped it"));
    look_up(&resolver, "chat-0.").await;
    zone.set(|zone| zone.v4 = broken());
    advance(secs(11)).await;
    assert_eq!(look_up(&resolver, "chat-0.").await, "10.0.0.1:80");
}

/// One client a second for each server of a service, for two hours of which DNS fails for one and a
/// half.
#[tokio::test(start_paused = true)]
async fn a_dns_outage_of_an_hour_loses_no_client_of_a_service() {
    const HOUR: u64 = 3600;
    let zone = zone();
    zone.set(|zone| zone.srv = one_service("chat-0.", 10));
    let resolver = zone.resolver();
    let pool = Pool::from_upstreams([]).build();
    let source = Dns::services("_ws._tcp.chat.").unwrap();
    let following = pool.follow(source.resolver(resolver.clone()));
    following.ready(secs(5)).await.unwrap();

    let began = Instant::now();
    let (mut lost, mut queries) = (Vec::new(), Vec::new());
    for second in 0..2 * HOUR {
        match second {
            100 => zone.set(|zone| {
                (zone.v4, zone.v6, zone.srv) = (broken(), broken(), broken());
            }),
            5500 => zone.set(|zone| {
                (zone.v4, zone.v6) = (ips(&["10.0.0.1"], 10), no_records());
                zone.srv = one_service("chat-0.", 10);
            }),
            _ => {}
        }
        let upstreams = pool.snapshot();
        assert_eq!(upstreams.len(), 1, "second {second}");
        if look_up(&resolver, "chat-0.").await != "10.0.0.1:80" {
            lost.push(second);
        }
        queries.extend(zone.asked());
        sleep(secs(1)).await;
    }
    // From an hour after the end of the TTL to the end of the outage, the address may be a
    // stranger's.
    assert!((3700..=3720).contains(lost.first().unwrap()), "{lost:?}");
    assert!(*lost.last().unwrap() <= 5502, "{lost:?}");
    // Each of SRV, A and AAAA every 30 s; in the last half hour, without anything to use, the
    // addresses every second.
    let asked = |from, to| {
        let began = began + secs(from)..began + secs(to);
        queries.iter().filter(|(at, _)| began.contains(at)).count()
    };
    assert!(asked(120, 3600) <= 3 * 3600 / 30, "{}", asked(120, 3600));
    assert!(asked(3720, 5500) <= 2 * 1780 + 60, "{}", asked(3720, 5500));
}
