//! Health checks: upstreams that fail, are detected, and recover.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use axum::Router;
use tokio::sync::mpsc;
use wsplice::{
    Observer, Pool, ProxyLayer,
    headers::ClientInfo,
    health::{
        Consecutive, EventFilter, HealthState, HealthTransition, Passive,
        availability::FailClosed,
        probe::{ProbeSchedule, WebSocketProbe},
    },
    observe::UpstreamInfo,
    pool::{OnUpstreamLoss, PoolBuilder},
};

use crate::support::{
    deadline::within,
    frames,
    raw::RawClient,
    scripts::{self, Then},
    serve::{Server, serve_axum},
    upstream::{RawConn, RawUpstream, closed_addr, switching_protocols},
};

/// Hands every change of health to the test.
#[derive(Debug)]
struct Changes(mpsc::UnboundedSender<(String, HealthTransition)>);

impl Observer for Changes {
    fn health_changed(&self, upstream: &UpstreamInfo<'_>, transition: &HealthTransition) {
        let _ = self.0.send((upstream.name.to_owned(), transition.clone()));
    }
}

struct WatchSource {
    server: Server,
    changes: mpsc::UnboundedReceiver<(String, HealthTransition)>,
}

impl WatchSource {
    async fn start(pool: impl Into<Pool>) -> Self {
        let (sender, changes) = mpsc::unbounded_channel();
        // Every request comes from an address of its own, as news of one client is no verdict.
        let next = AtomicU16::new(1);
        let proxy = ProxyLayer::new(pool)
            .observer(Changes(sender))
            .client_info(move |_| {
                let [high, low] = next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                Some(ClientInfo::from(SocketAddr::from((
                    [10, 0, high, low],
                    4000,
                ))))
            });
        Self {
            server: serve_axum(Router::new().layer(proxy)).await,
            changes,
        }
    }

    async fn change(&mut self) -> (String, HealthTransition) {
        within("a change of health", self.changes.recv())
            .await
            .unwrap()
    }

    /// Why the next upstream became unhealthy.
    async fn fall(&mut self) -> String {
        match self.change().await.1 {
            HealthTransition::Unhealthy { cause, .. } => cause.to_string(),
            other => panic!("{other:?}"),
        }
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

fn probed(urls: &[String]) -> PoolBuilder {
    Pool::new(urls)
        .unwrap()
        .probe(WebSocketProbe::get("/ws/health"))
        .probe_schedule(often())
        .health_policy(Consecutive::new().fails(3).passes(2))
}

#[tokio::test]
async fn an_upstream_that_speaks_websocket_alone_stays_healthy() {
    // The upstream answers pings, and plain requests with 426.
    let upstream = crate::support::axum_upstream::start().await;
    let pool = Pool::new([upstream.url()])
        .unwrap()
        .probe(WebSocketProbe::get("/ws/echo"))
        .probe_schedule(ProbeSchedule::every(Duration::from_millis(2)))
        .build();
    let mut watched = WatchSource::start(pool.clone()).await;
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

/// Answers handshakes and pings, and every plain request with these bytes.
async fn websocket_only(plain: &'static str) -> RawUpstream {
    RawUpstream::start(move |mut conn| async move {
        let Some(head) = conn.try_read_request_head().await else {
            return;
        };
        if head.get("upgrade").is_none() {
            let _ = conn.try_send(plain.as_bytes()).await;
            return;
        }
        conn.accept_101(&head, &[]).await;
        if let Some(payload) = try_read_ping(&mut conn).await {
            let pong = frames::unmasked(frames::pong(&payload));
            let _ = conn.try_send(&pong).await;
            let _ = conn.try_read_some().await;
            let close = frames::unmasked(frames::close(1000, ""));
            let _ = conn.try_send(&close).await;
        }
    })
    .await
}

/// The payload of the first ping; `None` if the probe is gone.
async fn try_read_ping(conn: &mut RawConn) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let more = conn
            .try_read_some()
            .await
            .ok()
            .filter(|more| !more.is_empty())?;
        bytes.extend_from_slice(&more);
        let [0x89, len, mask @ ..] = &bytes[..] else {
            continue;
        };
        let len = usize::from(len & 0x7F);
        if let Some((mask, payload)) = mask.split_first_chunk::<4>() {
            if payload.len() >= len {
                let unmask = payload.iter().zip(mask.iter().cycle());
                return Some(unmask.map(|(byte, mask)| byte ^ mask).collect());
            }
        }
    }
}

#[tokio::test]
async fn whatever_plain_requests_get_an_upstream_that_speaks_websocket_stays_healthy() {
    for plain in [
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n",
        "",
    ] {
        let upstream = websocket_only(plain).await;
        let pool = probed(&[upstream.url()])
            .probe_schedule(ProbeSchedule::every(Duration::from_millis(1)))
            .build();
        let mut watched = WatchSource::start(pool.clone()).await;
        upstream
            .wait_for("a hundred probes", |log| log.ended >= 100)
            .await;
        assert!(watched.changes.try_recv().is_err(), "{plain}");
        assert!(pool.snapshot()[0].is_used);
    }
}

#[tokio::test]
async fn one_that_accepts_and_never_pongs_is_found() {
    let mute = RawUpstream::start(scripts::answer(
        |head| switching_protocols(head, &[]),
        Then::Hold,
    ))
    .await;
    let mut watched = WatchSource::start(probed(&[mute.url()])).await;
    let cause = watched.fall().await;
    assert_eq!(
        cause,
        "3 consecutive probe failures: pong timed out after 500ms"
    );
}

#[tokio::test]
async fn one_that_answers_with_a_wrong_key_is_found_and_left_out() {
    let wrong = RawUpstream::start(scripts::wrong_accept()).await;
    let right = crate::support::axum_upstream::start().await;
    let pool = Pool::new([wrong.url(), right.url()])
        .unwrap()
        .probe(WebSocketProbe::get("/ws/echo"))
        .probe_schedule(often())
        .health_policy(Consecutive::new().fails(3).passes(2))
        .build();
    let mut watched = WatchSource::start(pool.clone()).await;
    let (name, transition) = watched.change().await;
    assert_eq!(name, wrong.addr().to_string());
    let HealthTransition::Unhealthy { cause, .. } = transition else {
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
    let pool = probed(&[silent.url()]).availability(FailClosed);
    let mut watched = WatchSource::start(pool).await;
    let (_, transition) = watched.change().await;
    let HealthTransition::Unhealthy { cause, .. } = transition else {
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
        .probe(wsplice::health::probe::TcpProbe::new())
        .probe_schedule(often());
    let mut watched = WatchSource::start(pool).await;
    assert!(matches!(
        watched.change().await.1,
        HealthTransition::Unhealthy { .. }
    ));
    let listener = tokio::net::TcpListener::bind(addr).await.unwrap();
    assert_eq!(watched.change().await.1, HealthTransition::Healthy);
    drop(listener);
}

#[tokio::test]
async fn without_a_probe_clients_find_out_and_an_ejected_one_is_the_last_resort() {
    let refusal = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let upstream = RawUpstream::start(scripts::fixed(refusal, Then::Close)).await;
    let dead = format!("ws://{}", closed_addr().await);
    let pool = Pool::new([dead, upstream.url()])
        .unwrap()
        .balance(wsplice::balance::First::new())
        .build();
    let mut watched = WatchSource::start(pool.clone()).await;
    // Failures are retried at the other upstream, so clients see its responses throughout.
    while watched.changes.is_empty() {
        assert_eq!(watched.status().await, 404);
    }
    assert!(matches!(
        watched.change().await.1,
        HealthTransition::Unhealthy { .. }
    ));
    drop(upstream);
    // The healthy upstream is gone too: both are tried, and the failure is a 502.
    assert_eq!(watched.status().await, 502);
}

#[tokio::test]
async fn open_tunnels_of_an_unhealthy_upstream_are_closed_if_so_asked() {
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
        .availability(FailClosed)
        .unhealthy_tunnels(OnUpstreamLoss::Close {
            spread: Duration::ZERO,
        });
    let mut watched = WatchSource::start(pool).await;
    let mut client = RawClient::open(watched.server.addr(), "/ws").await;
    assert!(matches!(
        watched.change().await.1,
        HealthTransition::Unhealthy { .. }
    ));
    let frame = frames::read_frame(&mut client).await;
    assert_eq!(frame.close(), Some((1012, "upstream unhealthy".into())));
}

/// One bad sign of any kind is too many, and so is a tunnel that ends within an hour.
fn touchy(url: String) -> PoolBuilder {
    let signals = EventFilter::passive().min_tunnel_age(Duration::from_secs(3600));
    let policy = Passive::default().fails(1).counting(signals);
    Pool::new([url]).unwrap().health_policy(policy)
}

#[tokio::test]
async fn an_upstream_that_vanishes_is_found_while_other_tunnels_live() {
    let upstream = RawUpstream::start(|mut conn| async move {
        let Some(head) = conn.try_read_request_head().await else {
            return;
        };
        conn.accept_101(&head, &[]).await;
        if head.target() == "/stays" {
            let _ = conn.try_read_some().await;
        }
    })
    .await;
    let mut watched = WatchSource::start(touchy(upstream.url())).await;
    let _stays = RawClient::open(watched.server.addr(), "/stays").await;
    assert!(watched.changes.try_recv().is_err());
    // On several paths, as one path alone is no verdict while another one succeeds.
    for path in ["/vanishes/1", "/vanishes/2", "/vanishes/3"] {
        let _vanishes = RawClient::open(watched.server.addr(), path).await;
    }
    let cause = watched.fall().await;
    assert!(
        cause.starts_with("1 consecutive tunnel failure: tunnel lost after"),
        "{cause}"
    );
}

#[tokio::test]
async fn an_upstream_whose_tunnels_die_early_is_found_if_so_asked() {
    let upstream = RawUpstream::start(|mut conn| async move {
        let Some(head) = conn.try_read_request_head().await else {
            return;
        };
        conn.accept_101(&head, &[]).await;
        // 1000, in good order.
        let _ = conn.try_send(&[0x88, 2, 0x03, 0xe8]).await;
        let _ = conn.try_read_some().await;
    })
    .await;
    let mut watched = WatchSource::start(touchy(upstream.url())).await;
    let mut client = RawClient::open(watched.server.addr(), "/ws").await;
    assert!(frames::read_frame(&mut client).await.close().is_some());
    client.send(&frames::masked(frames::close(1000, ""))).await;
    drop(client);
    let cause = watched.fall().await;
    assert!(
        cause.starts_with("1 consecutive tunnel failure: tunnel ended after"),
        "{cause}"
    );
}

#[tokio::test]
async fn what_clients_do_never_counts() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let pool = touchy(upstream.url()).build();
    let mut watched = WatchSource::start(pool.clone()).await;
    for round in 0..5 {
        let addr = watched.server.addr();
        RawClient::open(addr, "/resets").await.reset();
        drop(RawClient::open(addr, "/hangs_up").await);
        let mut closes = RawClient::open(addr, "/closes").await;
        closes.send(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).await;
        drop(closes);
        // This client leaves in the middle of the handshake.
        let mut leaves = RawClient::connect(addr).await;
        let request = crate::support::raw::handshake_request("/leaves", &[]);
        leaves.send(&request).await;
        leaves.reset();
        let ended = 4 * (round + 1);
        upstream
            .wait_for("the ends", |log| log.ended + 1 >= ended)
            .await;
    }
    while pool.snapshot()[0].tunnels > 0 {
        tokio::task::yield_now().await;
    }
    assert!(watched.changes.try_recv().is_err());
    assert!(pool.snapshot()[0].is_used);
}

#[tokio::test]
async fn a_drained_upstreams_tunnels_live_or_are_closed_as_told() {
    let [a, b] = [(); 2].map(|()| RawUpstream::start(scripts::echo()));
    let (a, b) = (a.await, b.await);
    let pool = Pool::new([a.url(), b.url()])
        .unwrap()
        .balance(wsplice::balance::First::new())
        .build();
    let watched = WatchSource::start(pool.clone()).await;
    let mut client = RawClient::open(watched.server.addr(), "/ws").await;
    let name = a.addr().to_string();
    assert!(pool.drain(&name, OnUpstreamLoss::Leave));
    let text = frames::masked(frames::text("still here"));
    assert_eq!(client.exchange(&text, text.len()).await, text);
    let _elsewhere = RawClient::open(watched.server.addr(), "/ws").await;
    let tunnels = || [0, 1].map(|index| pool.snapshot()[index].tunnels);
    assert_eq!(tunnels(), [1, 1]);
    let spread = Duration::ZERO;
    assert!(pool.drain(&name, OnUpstreamLoss::Close { spread }));
    let frame = frames::read_frame(&mut client).await;
    assert_eq!(frame.close(), Some((1012, "upstream draining".into())));
    drop(client);
    while tunnels() != [0, 1] {
        tokio::task::yield_now().await;
    }
}

/// Its probe passes, and it is the emptiest of the three.
#[tokio::test]
async fn of_200_clients_a_dozen_at_most_see_the_502_of_an_upstream_whose_probe_passes() {
    let refuses = |head: &crate::support::head::Head| match head.target() {
        "/health" => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n".to_vec(),
    };
    let healthy = |head: &crate::support::head::Head| match head.target() {
        "/health" => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => switching_protocols(head, &[]),
    };
    let broken = RawUpstream::start(scripts::answer(refuses, Then::Hold)).await;
    let one = RawUpstream::start(scripts::answer(healthy, Then::Hold)).await;
    let two = RawUpstream::start(scripts::answer(healthy, Then::Hold)).await;
    let pool = Pool::new([broken.url(), one.url(), two.url()])
        .unwrap()
        .probe(wsplice::health::probe::HttpProbe::get("/health"))
        .probe_schedule(often())
        .build();
    // All clients have one address, so that their news is no verdict. But others are asked first.
    let server = serve_axum(Router::new().layer(ProxyLayer::new(pool.clone()))).await;
    let mut clients = Vec::new();
    let mut refused = 0;
    for _ in 0..200 {
        let mut client = RawClient::connect(server.addr()).await;
        match client.handshake("/ws", &[]).await.status() {
            101 => clients.push(client),
            502 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert!((1..=12).contains(&refused), "{refused}");
    let status = pool.snapshot().remove(0);
    assert!(status.last_probe.is_some(), "it is probed");
    assert_eq!(status.counters.refusals, refused);
}
