//! Tests of pools that probe upstreams which speak WebSocket, or only pretend to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    net::connect::{Address, Connect, ConnectFuture, Dialer},
    pool::Pool,
    upstream::health::{
        Consecutive, HealthEventKind,
        probe::{
            HttpProbe, ProbeSchedule, WebSocketProbe,
            testing::{Scripted, UpstreamEnd, outcome},
        },
    },
};

use super::kit::{ObserverLog, pool, secs, states, used};

/// Connector that leads each host to its script.
#[derive(Debug)]
struct Hosts(Vec<(&'static str, Arc<Scripted>)>);

impl Connect for Hosts {
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a> {
        let name = address.to_string();
        let known = |(host, _): &&(&str, _)| name == format!("{host}:80");
        let (_, script) = self.0.iter().find(known).unwrap();
        script.connect(address)
    }
}

/// Returns a pool of these hosts with a WebSocket probe every 10 s; healthy hosts respond
/// immediately.
fn probed(hosts: Vec<(&'static str, Arc<Scripted>)>) -> Pool {
    let names: Vec<_> = hosts.iter().map(|(name, _)| *name).collect();
    let pool = pool(&names)
        .probe(WebSocketProbe::get("/ws"))
        .probe_schedule(ProbeSchedule::every(secs(10)).jitter(0.0))
        .health_policy(Consecutive::new().fails(3).passes(2))
        .build();
    pool.set_probe_dialer(&Dialer {
        connector: Arc::new(Hosts(hosts)),
        ..Dialer::default()
    });
    pool
}

/// Returns an upstream that speaks WebSocket, and sends this response to plain requests.
fn websocket_only(plain: &'static str) -> Arc<Scripted> {
    Scripted::new(move |mut far| async move {
        let request = far.request().await;
        if request.to_ascii_lowercase().contains("upgrade: websocket") {
            far.accept_this(&request, "").await;
            far.respond_normally().await;
        } else {
            far.write(plain.as_bytes()).await;
        }
    })
}

fn good() -> Arc<Scripted> {
    websocket_only("")
}

#[tokio::test(start_paused = true)]
async fn an_upstream_without_clients_gets_its_latency_from_probes() {
    let slow = Scripted::new(|mut far| async move {
        let request = far.request().await;
        sleep(Duration::from_millis(300)).await;
        far.accept_this(&request, "").await;
        far.respond_normally().await;
    });
    let pool = probed(vec![("a", slow)]);
    assert_eq!(pool.snapshot()[0].latency, None);
    sleep(secs(1)).await;
    let latency = pool.snapshot()[0].latency.unwrap();
    assert!(latency >= Duration::from_millis(300), "{latency:?}");
}

#[tokio::test(start_paused = true)]
async fn upstreams_that_speak_websocket_alone_stay_healthy_for_a_hundred_probes() {
    let bad = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let upgrade = "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n";
    let scripts = [bad, upgrade, ""].map(websocket_only);
    for script in &scripts {
        let plain = outcome(&HttpProbe::get("/"), script.clone()).await;
        assert!(plain.is_err(), "a plain request would say that it is down");
    }
    let before = scripts
        .each_ref()
        .map(|script| script.connections.load(Ordering::Relaxed));
    let pool = probed(["a", "b", "c"].into_iter().zip(scripts.clone()).collect());
    let log = ObserverLog::of(&pool);
    sleep(secs(995)).await;
    for (script, before) in scripts.iter().zip(before) {
        assert_eq!(script.connections.load(Ordering::Relaxed) - before, 100);
    }
    assert_eq!(log.read(), [""; 0]);
    assert_eq!(states(&pool), ["healthy"; 3]);
    for status in pool.snapshot() {
        let probe = status.last_probe.unwrap();
        assert!(matches!(probe.kind, HealthEventKind::ProbePassed { .. }));
        assert_eq!(probe.at, Instant::now() - secs(5));
    }
}

#[tokio::test(start_paused = true)]
async fn upstreams_that_only_pretend_are_found_with_their_cause() {
    let hangs = Scripted::new(UpstreamEnd::hang);
    let wrong_key = Scripted::new(|mut far| async move {
        far.request().await;
        let response = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                      Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        far.write(response.as_bytes()).await;
        far.hang().await;
    });
    let never_pongs = Scripted::new(|mut far| async move {
        far.accept("").await;
        far.hang().await;
    });
    let hosts = vec![
        ("hangs", hangs),
        ("wrong", wrong_key),
        ("mute", never_pongs),
        ("good", good()),
    ];
    let pool = probed(hosts);
    let log = ObserverLog::of(&pool);
    // Three probes of 5 s, 10 s from start to start.
    sleep(secs(26)).await;
    let mut told = log.read();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "hangs unhealthy: 3 consecutive probe failures: handshake timed out after 5s",
            "mute unhealthy: 3 consecutive probe failures: pong timed out after 5s",
            "wrong unhealthy: 3 consecutive probe failures: \
             the upstream's 101 response is not valid: the Sec-WebSocket-Accept header does not match the key",
        ]
    );
    assert_eq!(used(&pool), ["good"]);
    // The snapshot shows the same, with the time.
    let snapshot = pool.snapshot();
    assert_eq!(snapshot[0].health.since(), Instant::now() - secs(1));
    let last = snapshot[0].last_probe.clone().unwrap();
    assert_eq!(last.kind.to_string(), "handshake timed out after 5s");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_flaps_slowly_affects_clients_less_and_less() {
    let up = Arc::new(AtomicUsize::new(1));
    let flaps = {
        let up = Arc::clone(&up);
        Scripted::new(move |mut far| {
            let is_up = up.load(Ordering::Relaxed) == 1;
            async move {
                if is_up {
                    far.accept("").await;
                    far.respond_normally().await;
                }
            }
        })
    };
    let pool = probed(vec![("flaps", flaps), ("good", good())]);
    let log = ObserverLog::of(&pool);
    // A minute down, half a minute up, for an hour and a half.
    let mut in_use = 0;
    for second in 0..5400 {
        up.store(usize::from(second % 90 >= 60), Ordering::Relaxed);
        sleep(Duration::from_secs(1)).await;
        in_use += usize::from(used(&pool).len() == 2);
    }
    let falls = log
        .read()
        .iter()
        .filter(|told| told.contains("unhealthy"))
        .count();
    assert!(
        falls <= 30,
        "of 60 times that it went down, clients met {falls}"
    );
    assert!(in_use < 5400 / 3, "{in_use}");
}
