//! Upstreams that fail, are found out, and come back.

use std::time::Duration;

use axum::Router;
use tokio::sync::mpsc;
use wsplice::{
    Observer, Pool, ProxyLayer,
    health::{Consecutive, HealthState, ProbeSchedule, Transition, WebSocketProbe},
};

use crate::support::{
    deadline::within,
    raw::RawClient,
    scripts::{self, Then},
    serve::{Server, serve_axum},
    upstream::{RawUpstream, closed_addr},
};

/// Hands every change of health to the test.
#[derive(Debug)]
struct Changes(mpsc::UnboundedSender<(String, Transition)>);

impl Observer for Changes {
    fn health_changed(&self, upstream: &str, transition: &Transition) {
        let _ = self.0.send((upstream.to_owned(), transition.clone()));
    }
}

struct Watched {
    server: Server,
    changes: mpsc::UnboundedReceiver<(String, Transition)>,
}

impl Watched {
    async fn start(pool: Pool) -> Self {
        let (sender, changes) = mpsc::unbounded_channel();
        let proxy = ProxyLayer::new(pool).observer(Changes(sender));
        Self {
            server: serve_axum(Router::new().layer(proxy)).await,
            changes,
        }
    }

    async fn change(&mut self) -> (String, Transition) {
        within("a change of health", self.changes.recv())
            .await
            .unwrap()
    }

    async fn status(&self) -> u16 {
        let mut client = RawClient::connect(self.server.addr()).await;
        client.handshake("/ws", &[]).await.status()
    }
}

fn often() -> ProbeSchedule {
    let fast = Duration::from_millis(20);
    ProbeSchedule::every(fast)
        .while_unhealthy(fast)
        .timeout(Duration::from_millis(500))
}

fn probed(urls: &[String]) -> Pool {
    Pool::new(urls)
        .unwrap()
        .probe(WebSocketProbe::get("/ws/health"))
        .probe_schedule(often())
        .health_policy(Consecutive::new().fails(3).passes(2))
}

#[tokio::test]
async fn an_upstream_that_speaks_websocket_alone_stays_healthy() {
    // It answers pings, and plain requests with 426.
    let upstream = crate::support::axum_upstream::start().await;
    let pool = Pool::new([upstream.url()])
        .unwrap()
        .probe(WebSocketProbe::get("/ws/echo"))
        .probe_schedule(ProbeSchedule::every(Duration::from_millis(2)));
    let mut watched = Watched::start(pool.clone()).await;
    let mut probes = 0;
    let mut last = None;
    while probes < 100 {
        tokio::task::yield_now().await;
        let probe = pool.snapshot().remove(0).last_probe.map(|probe| probe.at);
        if probe != last {
            (probes, last) = (probes + 1, probe);
        }
    }
    assert!(
        watched.changes.try_recv().is_err(),
        "nothing changed over {probes} probes"
    );
    assert!(pool.snapshot()[0].health.is_usable());
}

#[tokio::test]
async fn one_that_answers_with_a_wrong_key_is_found_and_left_out() {
    let wrong = RawUpstream::start(scripts::wrong_accept()).await;
    let right = crate::support::axum_upstream::start().await;
    let pool = Pool::new([wrong.url(), right.url()])
        .unwrap()
        .probe(WebSocketProbe::get("/ws/echo"))
        .probe_schedule(often())
        .health_policy(Consecutive::new().fails(3).passes(2));
    let mut watched = Watched::start(pool.clone()).await;
    let (name, transition) = watched.change().await;
    assert_eq!(name, wrong.addr().to_string());
    let Transition::Unhealthy { cause, .. } = transition else {
        panic!("{transition:?}")
    };
    assert!(cause.starts_with("3 consecutive probe failures"), "{cause}");
    for _ in 0..20 {
        let mut client = RawClient::connect(watched.server.addr()).await;
        assert_eq!(client.handshake("/ws/echo", &[]).await.status(), 101);
    }
    let snapshot = pool.snapshot();
    assert!(matches!(snapshot[0].health, HealthState::Unhealthy { .. }));
    assert!(snapshot[1].health.is_usable());
}

#[tokio::test]
async fn one_that_hangs_is_found_by_its_timeout() {
    let silent = RawUpstream::start(scripts::silence()).await;
    let mut watched = Watched::start(probed(&[silent.url()])).await;
    let (_, transition) = watched.change().await;
    let Transition::Unhealthy { cause, .. } = transition else {
        panic!("{transition:?}")
    };
    assert!(cause.contains("timed out"), "{cause}");
    assert_eq!(
        watched.status().await,
        503,
        "none is left, and clients are told at once"
    );
}

#[tokio::test]
async fn one_that_comes_back_is_used_again() {
    let addr = closed_addr().await;
    let pool = Pool::new([format!("ws://{addr}")])
        .unwrap()
        .probe(wsplice::health::TcpProbe::new())
        .probe_schedule(often());
    let mut watched = Watched::start(pool).await;
    assert!(matches!(
        watched.change().await.1,
        Transition::Unhealthy { .. }
    ));
    let listener = tokio::net::TcpListener::bind(addr).await.unwrap();
    assert_eq!(watched.change().await.1, Transition::Healthy);
    drop(listener);
}

#[tokio::test]
async fn without_a_probe_clients_find_out_and_an_ejected_one_is_the_last_resort() {
    let refusal = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let upstream = RawUpstream::start(scripts::fixed(refusal, Then::Close)).await;
    let dead = format!("ws://{}", closed_addr().await);
    let pool = Pool::new([dead, upstream.url()])
        .unwrap()
        .balance(wsplice::balance::First::new());
    let mut watched = Watched::start(pool.clone()).await;
    // Failures are retried elsewhere, so clients see the other's answer throughout.
    while watched.changes.is_empty() {
        assert_eq!(watched.status().await, 404);
    }
    assert!(matches!(
        watched.change().await.1,
        Transition::Unhealthy { .. }
    ));
    drop(upstream);
    // The healthy one is gone too: both are tried, and the failure says so.
    assert_eq!(watched.status().await, 502);
}

#[tokio::test]
async fn open_tunnels_of_an_unhealthy_upstream_are_closed_if_so_asked() {
    use wsplice::LostTunnels;

    let upstream = RawUpstream::start(|mut conn| async move {
        // Healthy for tunnels to /ws, sick for probes.
        let Some(head) = conn.try_read_request_head().await else {
            return;
        };
        if head.target() == "/ws" {
            conn.accept_101(&head, &[]).await;
        }
        let _ = conn.try_read_some().await;
    })
    .await;
    let pool = Pool::new([upstream.url()])
        .unwrap()
        .probe(WebSocketProbe::get("/ws/health"))
        .probe_schedule(often().timeout(Duration::from_millis(50)))
        .health_policy(Consecutive::new().fails(20))
        .unhealthy_tunnels(LostTunnels::Close {
            spread: Duration::ZERO,
        });
    let mut watched = Watched::start(pool).await;
    let mut client = RawClient::open(watched.server.addr(), "/ws").await;
    assert!(matches!(
        watched.change().await.1,
        Transition::Unhealthy { .. }
    ));
    let frame = crate::support::frames::read_frame(&mut client).await;
    assert_eq!(frame.close(), Some((1012, "upstream unhealthy".into())));
}
