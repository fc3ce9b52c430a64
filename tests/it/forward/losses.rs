//! Responses under way whose upstream is drained, removed or becomes unhealthy; on a paused clock.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http_body_util::BodyExt;
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    time::{Instant, sleep, timeout},
};
use wsplice::{
    ErrorKind, ForwardHttp, Pool, ProxyLayer, Upstream,
    balance::First,
    connect::{Address, Connect, ConnectFuture},
    health::{Ejection, HealthControl},
    pool::{OnUpstreamLoss, PoolBuilder},
};

use super::clocks::{InMemory, RelayedBody, begin, call, no_body, read, read_to_error};

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                      Transfer-Encoding: chunked\r\n\r\n";
const DOWNLOAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

const SPREAD: Duration = Duration::from_secs(60);
const CLOSE: OnUpstreamLoss = OnUpstreamLoss::Close { spread: SPREAD };

fn pool() -> PoolBuilder {
    Pool::new(["ws://app.test", "ws://spare.test"])
        .unwrap()
        .balance(First::new())
}

fn layer(pool: &Pool, memory: &InMemory) -> ProxyLayer<ForwardHttp> {
    ProxyLayer::new(pool.clone())
        .connector(memory.clone())
        .forward_http(ForwardHttp::new().response_idle_timeout(None))
}

/// Begins a response of the first upstream.
async fn response(pool: &Pool, head: &str) -> (RelayedBody, DuplexStream) {
    let memory = InMemory::default();
    begin(&memory, layer(pool, &memory), head).await
}

fn requests(pool: &Pool) -> usize {
    pool.snapshot().iter().map(|status| status.tunnels).sum()
}

/// Returns the times after which the responses of this head are broken off.
async fn ends(pool: &Pool, head: &str, lose: impl Fn(&Pool)) -> Vec<Duration> {
    let mut responses = Vec::new();
    for _ in 0..20 {
        responses.push(response(pool, head).await);
    }
    let lost_at = Instant::now();
    lose(pool);
    let mut ends = Vec::new();
    for (mut body, upstream) in responses {
        let ending = tokio::spawn(async move {
            let error = read_to_error(&mut body).await;
            assert_eq!(error.kind(), ErrorKind::Draining);
            drop(upstream);
            lost_at.elapsed()
        });
        ends.push(ending);
    }
    let mut times = Vec::new();
    for ending in ends {
        times.push(timeout(2 * SPREAD, ending).await.unwrap().unwrap());
    }
    times.sort_unstable();
    times
}

/// A way to lose the upstream.
type Lose = fn(&Pool);

#[tokio::test(start_paused = true)]
async fn event_streams_of_a_lost_upstream_are_broken_off_over_the_spread() {
    // Twenty moments that are drawn may all lie in one half.
    fastrand::seed(1);
    let drain = |pool: &Pool| assert!(pool.drain("app.test:80", CLOSE));
    let remove = |pool: &Pool| assert!(pool.remove("app.test:80"));
    let unhealthy = |pool: &Pool| {
        assert!(pool.control_health("app.test:80", HealthControl::ForcedUnhealthy));
    };
    let losses: [(&str, Lose); 3] = [
        ("drained", drain),
        ("removed", remove),
        ("unhealthy", unhealthy),
    ];
    for (name, lose) in losses {
        let pool = pool()
            .removed_tunnels(CLOSE)
            .unhealthy_tunnels(CLOSE)
            .build();
        let times = ends(&pool, EVENTS, lose).await;
        assert!(
            times[0] < SPREAD / 2 && times[19] > SPREAD / 2,
            "{name}: {times:?}"
        );
        assert!(times[19] <= SPREAD, "{name}: {times:?}");
        assert_eq!(requests(&pool), 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_responses_of_a_lost_upstream_have_the_whole_spread_to_end() {
    let pool = pool().build();
    let drain = |pool: &Pool| assert!(pool.drain("app.test:80", CLOSE));
    let times = ends(&pool, DOWNLOAD, drain).await;
    assert_eq!((times[0].as_secs(), times[19].as_secs()), (60, 60));
}

#[tokio::test(start_paused = true)]
async fn by_default_and_after_a_resume_responses_go_on() {
    let pool = pool().build();
    for head in [EVENTS, DOWNLOAD] {
        let (mut body, mut upstream) = response(&pool, head).await;
        assert!(pool.drain("app.test:80", OnUpstreamLoss::Leave));
        assert!(timeout(2 * SPREAD, body.frame()).await.is_err());
        assert!(pool.resume("app.test:80"));
        assert!(pool.drain("app.test:80", CLOSE));
        assert!(pool.resume("app.test:80"));
        assert!(timeout(2 * SPREAD, body.frame()).await.is_err());
        upstream.write_all(b"1\r\nx\r\n0\r\n\r\n").await.unwrap();
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "x"
        );
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_whose_request_was_under_way_at_the_loss_ends_too_and_later_ones_do_not() {
    let pool = pool().removed_tunnels(CLOSE).build();
    let memory = InMemory::default();
    let answered = tokio::spawn(call(layer(&pool, &memory), no_body()));
    let mut upstream = memory.accept().await;
    read(&mut upstream).await;
    assert!(pool.remove("app.test:80"));
    let lost_at = Instant::now();
    sleep(Duration::from_secs(5)).await;
    upstream.write_all(DOWNLOAD.as_bytes()).await.unwrap();
    let mut body = answered.await.unwrap().into_body();
    let error = timeout(2 * SPREAD, read_to_error(&mut body)).await.unwrap();
    assert_eq!(error.kind(), ErrorKind::Draining);
    assert_eq!(lost_at.elapsed().as_secs(), 60);

    assert!(pool.add(Upstream::new("ws://app.test").unwrap()));
    assert!(pool.remove("spare.test:80"));
    let (mut body, _upstream) = response(&pool, EVENTS).await;
    assert!(timeout(2 * SPREAD, body.frame()).await.is_err());
}

/// Connector that refuses the first upstream while it is switched on.
#[derive(Clone, Debug, Default)]
struct Refusing(InMemory, Arc<AtomicBool>);

impl Connect for Refusing {
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a> {
        match self.1.load(Ordering::Relaxed) && address.to_string().starts_with("app") {
            true => Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) }),
            false => self.0.connect(address),
        }
    }
}

/// The response may go on for as long as its client likes: an event stream, or one that is read slowly.
#[tokio::test(start_paused = true)]
async fn a_response_under_way_does_not_hold_the_trial_of_its_upstream() {
    let empty = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let not_found = "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n";
    for under_way in [EVENTS, not_found] {
        let pool = pool().ejection(Ejection::new().jitter(0.0)).build();
        let refusing = Refusing::default();
        let layer = ProxyLayer::new(pool.clone())
            .connector(refusing.clone())
            .forward_http(ForwardHttp::new().response_idle_timeout(None));
        let state = || pool.snapshot()[0].health.to_string();
        let fails = async || {
            refusing.1.store(true, Ordering::Relaxed);
            // By the other one.
            drop(begin(&refusing.0, layer.clone(), empty).await);
            assert!(state().starts_with("unhealthy"), "{}", state());
            refusing.1.store(false, Ordering::Relaxed);
        };
        fails().await;
        sleep(Duration::from_secs(11)).await;
        assert_eq!(state(), "half-open");
        let _trial = begin(&refusing.0, layer.clone(), under_way).await;
        if under_way == EVENTS {
            assert_eq!(state(), "healthy");
            sleep(Duration::from_secs(1)).await;
            fails().await;
            sleep(Duration::from_secs(3600)).await;
        }
        drop(begin(&refusing.0, layer.clone(), empty).await);
        assert_eq!(state(), "healthy", "{under_way}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_spread_is_no_panic_beside_a_response() {
    let pool = pool().build();
    let (_body, _upstream) = response(&pool, DOWNLOAD).await;
    let spread = Duration::MAX;
    assert!(pool.drain("app.test:80", OnUpstreamLoss::Close { spread }));
}
