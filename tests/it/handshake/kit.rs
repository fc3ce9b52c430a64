//! The proxy under test, and the events that it reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::any;
use tokio::sync::watch;
use tower::Layer;
use wsplice::balance::{Balance, Candidates, RoundRobin};
use wsplice::head::RequestHead;
use wsplice::matcher::path;
use wsplice::{
    Error, Observer, Pool, ProxyLayer, Registry, TunnelInfo, TunnelReport, observe::RequestInfo,
    pool::PoolBuilder,
};

use crate::support::deadline::within;
use crate::support::head::Head;
use crate::support::raw::{RawClient, handshake_request};
use crate::support::serve::{Server, serve_auto, serve_axum, serve_hyper};
use crate::support::upstream::RawUpstream;
use crate::support::wire::Wire;

/// The server that runs the proxy.
#[derive(Clone, Copy, Debug)]
pub(super) enum Host {
    /// A layer of a router, served by axum.
    Axum,
    /// Around a router, served by hyper's plain HTTP/1 server.
    Hyper,
    /// Around a router, served by hyper-util's auto server.
    Auto,
}

impl Host {
    pub(super) const ALL: [Self; 3] = [Self::Axum, Self::Hyper, Self::Auto];
}

/// A proxy around [`pages`]; by default it owns `/ws/*`.
pub(super) struct Proxied {
    server: Server,
    events: Events,
    figures: Figures,
    registry: Registry,
}

impl Proxied {
    /// A proxy in front of this upstream.
    pub(super) async fn before(upstream: &RawUpstream) -> Self {
        Self::with(upstream, |layer| layer).await
    }

    /// A proxy in front of this upstream, with further settings.
    pub(super) async fn with(
        upstream: &RawUpstream,
        settings: impl FnOnce(ProxyLayer) -> ProxyLayer,
    ) -> Self {
        Self::start(Host::Axum, pool([upstream.url()]), settings).await
    }

    /// A proxy in front of this upstream, served by this host.
    pub(super) async fn on(host: Host, upstream: &RawUpstream) -> Self {
        Self::start(host, pool([upstream.url()]), |layer| layer).await
    }

    pub(super) async fn start(
        host: Host,
        pool: impl Into<Pool>,
        settings: impl FnOnce(ProxyLayer) -> ProxyLayer,
    ) -> Self {
        Self::around(pages(), host, pool, settings).await
    }

    /// A proxy in front of this upstream, in a router that `outer` puts further layers around.
    pub(super) async fn within(
        upstream: &RawUpstream,
        settings: impl FnOnce(ProxyLayer) -> ProxyLayer,
        outer: impl FnOnce(Router) -> Router,
    ) -> Self {
        let (observed, layer) = Observed::layer(pool([upstream.url()]), settings);
        let server = serve_axum(outer(pages().layer(layer))).await;
        observed.by(server)
    }

    /// Around these pages instead of [`pages`].
    pub(super) async fn around(
        pages: Router,
        host: Host,
        pool: impl Into<Pool>,
        settings: impl FnOnce(ProxyLayer) -> ProxyLayer,
    ) -> Self {
        let (observed, layer) = Observed::layer(pool, settings);
        let server = match host {
            Host::Axum => serve_axum(pages.layer(layer)).await,
            Host::Hyper => serve_hyper(layer.layer(pages)).await,
            Host::Auto => serve_auto(layer.layer(pages)).await,
        };
        observed.by(server)
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    pub(super) async fn connect(&self) -> RawClient {
        RawClient::connect(self.server.addr()).await
    }

    /// Sends a valid handshake on a connection of its own and reads the head of the response.
    pub(super) async fn handshake(&self, path: &str, extra: &[(&str, &str)]) -> (RawClient, Head) {
        self.send(&handshake_request(path, extra)).await
    }

    /// Sends these bytes on a connection of their own and reads the head of the response.
    pub(super) async fn send(&self, request: &[u8]) -> (RawClient, Head) {
        let mut client = self.connect().await;
        client.send(request).await;
        let head = client.read_head().await;
        (client, head)
    }

    /// Sends a right handshake for `path` and expects a 101.
    pub(super) async fn open(&self, path: &str) -> RawClient {
        RawClient::open(self.server.addr(), path).await
    }

    /// Expects exactly these events so far, as [`Events`] writes them.
    pub(super) async fn expect_events(&self, expected: &[&str]) {
        let mut log = self.events.0.subscribe();
        let enough = log.wait_for(|events| events.len() >= expected.len());
        let events = within(format!("the events {expected:?}"), enough).await;
        assert_eq!(*events.expect("the observer lives"), expected);
    }

    /// The events so far, as [`Events`] writes them.
    pub(super) fn events(&self) -> Vec<String> {
        self.events.0.borrow().clone()
    }

    /// Waits for this event.
    pub(super) async fn wait_for_event(&self, event: &str) {
        let mut log = self.events.0.subscribe();
        let seen = log.wait_for(|events| events.iter().any(|seen| seen == event));
        within(format!("the event {event:?}"), seen)
            .await
            .expect("the observer lives");
    }

    pub(super) fn open_tunnels(&self) -> usize {
        self.registry.count()
    }

    /// Waits until no tunnel is listed and no upstream is leased.
    ///
    /// After this no handshake reaches an upstream any more.
    pub(super) async fn expect_idle(&self) {
        self.figures.close.store(true, Ordering::SeqCst);
        within("the leases and the listed tunnels to end", async {
            loop {
                let (mut client, head) = self.handshake("/ws/figures", &[]).await;
                assert_eq!(head.status(), 503);
                client.read_body(&head).await;
                if self.figures.leases() == 0 && self.registry.count() == 0 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// The observer and handles of a layer, until there is a server to go with them.
struct Observed {
    events: Events,
    figures: Figures,
    registry: Registry,
}

impl Observed {
    fn layer(
        pool: impl Into<Pool>,
        settings: impl FnOnce(ProxyLayer) -> ProxyLayer,
    ) -> (Self, ProxyLayer) {
        let (events, figures) = (Events::default(), Figures::default());
        let layer = ProxyLayer::new(pool)
            .balance(figures.clone())
            .matching(path("/ws/*"))
            .observer(events.clone());
        let layer = settings(layer);
        let registry = layer.registry();
        let observed = Self {
            events,
            figures,
            registry,
        };
        (observed, layer)
    }

    fn by(self, server: Server) -> Proxied {
        Proxied {
            server,
            events: self.events,
            figures: self.figures,
            registry: self.registry,
        }
    }
}

/// A pool of these addresses.
pub(super) fn pool<const N: usize>(addresses: [String; N]) -> PoolBuilder {
    Pool::new(addresses).expect("addresses")
}

/// The service that the proxy wraps: `/page` returns `page`, all other paths the request's target.
pub(super) fn pages() -> Router {
    Router::new()
        .route("/page", any(|| async { "page" }))
        .fallback(|method: Method, uri: Uri| async move { format!("inner {method} {uri}") })
}

/// Expects that the inner service responds to this `GET` of `target`.
pub(super) async fn expect_inner(client: &mut Wire, head: &Head, target: &str) {
    assert_eq!(head.status(), 200, "{target}: {head:?}");
    let body = client.read_body(head).await;
    assert_eq!(&body[..], format!("inner GET {target}").as_bytes());
}

/// Expects that the client's connection goes on as plain HTTP.
pub(super) async fn expect_page(client: &mut RawClient) {
    client.send_request("/page", &[]).await;
    let head = client.read_head().await;
    assert_eq!(head.status(), 200);
    assert_eq!(&client.read_body(&head).await[..], b"page");
}

/// The body of the response, which is text.
pub(super) async fn text(client: &mut Wire, head: &Head) -> String {
    String::from_utf8(client.read_body(head).await.to_vec()).expect("UTF-8")
}

/// Expects that `upstream` has accepted `count` connections, and that none waits to be accepted.
///
/// The check connects by itself: connections are accepted in order, so an earlier one counts by
/// the time that this one does.
pub(super) async fn expect_connections(upstream: &RawUpstream, count: usize) {
    let _last = RawClient::connect(upstream.addr()).await;
    let log = upstream
        .wait_for("the last connection", |log| log.accepted > count)
        .await;
    assert_eq!(log.accepted, count + 1, "{:?}", log.heads);
}

/// Expects that no connection has reached `upstream`.
pub(super) async fn expect_untouched(upstream: &RawUpstream) {
    expect_connections(upstream, 0).await;
}

/// The only request head that has reached `upstream`.
pub(super) async fn only_head(upstream: &RawUpstream) -> Head {
    let log = upstream
        .wait_for("a request head", |log| !log.heads.is_empty())
        .await;
    assert_eq!(log.heads.len(), 1);
    log.heads[0].clone()
}

/// All values of a header, in order.
pub(super) fn values<'a>(head: &'a Head, name: &str) -> Vec<&'a str> {
    head.all(name).collect()
}

/// Observer that records its events, a line each:
/// `accepted <path> <upstream>`, `refused <path> <status>`, `rejected <path> <kind>`,
/// `failed <path> <kind> <upstream>`, `opened <path>`, `closed <path>`.
#[derive(Clone, Debug, Default)]
pub(super) struct Events(watch::Sender<Vec<String>>);

impl Events {
    fn record(&self, line: String) {
        self.0.send_modify(|events| events.push(line));
    }
}

impl Observer for Events {
    fn handshake_accepted(&self, handshake: &RequestInfo<'_>) {
        let upstream = handshake.upstream.unwrap_or("nobody");
        self.record(format!("accepted {} {upstream}", handshake.path));
    }

    fn handshake_refused(&self, handshake: &RequestInfo<'_>, status: StatusCode) {
        assert!(handshake.upstream.is_some());
        self.record(format!("refused {} {}", handshake.path, status.as_u16()));
    }

    fn handshake_rejected(&self, handshake: &RequestInfo<'_>, error: &Error) {
        self.record(format!("rejected {} {:?}", handshake.path, error.kind()));
    }

    fn handshake_failed(&self, handshake: &RequestInfo<'_>, error: &Error) {
        let (path, kind) = (handshake.path, error.kind());
        let upstream = handshake.upstream.unwrap_or("nobody");
        self.record(format!("failed {path} {kind:?} {upstream}"));
    }

    fn tunnel_opened(&self, tunnel: &TunnelInfo) {
        self.record(format!("opened {}", tunnel.path));
    }

    fn tunnel_closed(&self, tunnel: &TunnelInfo, _report: &TunnelReport) {
        self.record(format!("closed {}", tunnel.path));
    }
}

/// Takes the upstreams in turn, and remembers how many leases there were before the last pick.
#[derive(Clone, Debug, Default)]
struct Figures {
    turn: Arc<RoundRobin>,
    leases: Arc<Mutex<usize>>,
    close: Arc<AtomicBool>,
}

impl Figures {
    fn leases(&self) -> usize {
        *self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Balance for Figures {
    fn pick(&self, candidates: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize> {
        let leases = (0..candidates.len())
            .filter_map(|index| candidates.get(index))
            .map(|candidate| candidate.tunnels())
            .sum();
        *self.leases.lock().unwrap_or_else(PoisonError::into_inner) = leases;
        if self.close.load(Ordering::SeqCst) {
            return None;
        }
        self.turn.pick(candidates, request)
    }
}
