//! Two upstreams, of which one fails: every client gets through to the other.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use axum::http::StatusCode;
use tokio::task::JoinSet;
use wsplice::{
    Error, Observer, Pool, ProxyLayer, Retry,
    connect::{Address, Connect, ConnectFuture, Connector},
    health::Ejection,
    observe::RequestInfo,
    pool::RetryOn,
};

use crate::support::{
    axum_upstream, frames,
    raw::RawClient,
    scripts::{self, Then},
    serve::{Server, serve_axum},
    upstream::{RawUpstream, closed_addr},
};

const CLIENTS: usize = 200;

/// Observer that counts the failures of upstreams, and the retries.
#[derive(Clone, Debug, Default)]
struct Counts(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    failed: AtomicUsize,
    retried: AtomicUsize,
}

impl Counts {
    fn failed(&self) -> usize {
        self.0.failed.load(Ordering::SeqCst)
    }

    fn retried(&self) -> usize {
        self.0.retried.load(Ordering::SeqCst)
    }
}

impl Observer for Counts {
    fn handshake_failed(&self, _handshake: &RequestInfo<'_>, _error: &Error) {
        self.0.failed.fetch_add(1, Ordering::SeqCst);
    }

    fn handshake_refused(&self, _handshake: &RequestInfo<'_>, _status: StatusCode) {
        self.0.failed.fetch_add(1, Ordering::SeqCst);
    }

    fn handshake_retried(&self, _handshake: &RequestInfo<'_>, attempt: usize) {
        assert_eq!(attempt, 2);
        self.0.retried.fetch_add(1, Ordering::SeqCst);
    }
}

/// Never connects to this one address.
#[derive(Debug)]
struct HangsAt(String, Connector);

impl Connect for HangsAt {
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a> {
        if address.to_string() == self.0 {
            return Box::pin(pending());
        }
        self.1.connect(address)
    }
}

/// Short enough to wait for, and long enough for a good upstream on a busy machine.
const PATIENCE: Duration = Duration::from_secs(3);

fn eager(layer: ProxyLayer) -> ProxyLayer {
    layer
        .connect_timeout(PATIENCE)
        .handshake_timeout(PATIENCE)
        .retry(Retry::new().attempts(2).on([
            RetryOn::Status(502),
            RetryOn::Timeout,
            RetryOn::InvalidResponse,
        ]))
}

/// Opens a tunnel for this many clients at once, and sends something through each.
async fn all_get_through(server: &Server) {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let addr = server.addr();
        clients.spawn(async move {
            let mut client = RawClient::open(addr, "/ws/echo").await;
            client.send(&frames::masked(frames::text("hi"))).await;
            assert_eq!(client.read_exact(4).await[..], [0x81, 2, b'h', b'i']);
        });
    }
    clients.join_all().await;
}

/// Runs two crowds of clients against a failing upstream and a good one.
async fn outlives(bad: String, settings: impl FnOnce(ProxyLayer) -> ProxyLayer) {
    let good = axum_upstream::start().await;
    // An upstream that is left out stays so for the whole test, on a slow machine too.
    let long = Ejection::new().base(Duration::from_secs(300));
    let pool = Pool::new([bad, good.url()]).unwrap().ejection(long).build();
    let counts = Counts::default();
    let layer = eager(ProxyLayer::new(pool.clone()).observer(counts.clone()));
    let server = serve_axum(Router::new().layer(settings(layer))).await;
    all_get_through(&server).await;
    let failed = counts.failed();
    assert!(failed > 0, "the bad one was tried");
    assert_eq!(counts.retried(), failed, "each failure was mended");
    assert_eq!(pool.retries().made as usize, failed);
    assert_eq!(pool.retries().denied, 0);
    // The clients have one address and one path, so that only others are preferred.
    let bad = pool.snapshot().remove(0);
    assert!(!bad.health.is_usable() || bad.is_doubted, "{bad:?}");
    // The clients have found out: hardly anyone is sent there any more.
    all_get_through(&server).await;
    assert!(counts.failed() - failed <= 5, "{counts:?}");
}

#[tokio::test]
async fn one_that_refuses_connections() {
    outlives(format!("ws://{}", closed_addr().await), |layer| layer).await;
}

#[tokio::test]
async fn one_that_hangs_in_connect() {
    let addr = closed_addr().await.to_string();
    let connector = HangsAt(addr.clone(), Connector::new());
    outlives(format!("ws://{addr}"), |layer| layer.connector(connector)).await;
}

#[tokio::test]
async fn one_that_hangs_in_the_handshake() {
    let silent = RawUpstream::start(scripts::silence()).await;
    outlives(silent.url(), |layer| layer).await;
    let log = silent.log();
    silent
        .wait_for("its connections to end", |log| log.ended == log.accepted)
        .await;
    assert!(log.accepted <= CLIENTS);
}

#[tokio::test]
async fn one_that_answers_502() {
    let answer = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nsorry";
    let broken = RawUpstream::start(scripts::fixed(answer, Then::Hold)).await;
    outlives(broken.url(), |layer| layer).await;
    // The dropped responses hold no connection.
    broken
        .wait_for("its connections to end", |log| log.ended == log.accepted)
        .await;
}

#[tokio::test]
async fn one_that_answers_with_a_wrong_key() {
    let wrong = RawUpstream::start(scripts::wrong_accept()).await;
    outlives(wrong.url(), |layer| layer).await;
}
