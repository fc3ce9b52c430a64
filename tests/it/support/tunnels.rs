//! A proxy in an axum application, and the events of its tunnels.
//!
//! [`ProxyServer`] is the proxy with its server. [`Ends`] are the two raw ends of one tunnel
//! through it, both held by the test, which so decides on the actions of each and their order.

use std::net::SocketAddr;

use axum::Router;
use tokio::sync::{mpsc, watch};
use wsplice::{
    Drain, Observer, Pool, ProxyLayer, Registry, TunnelInfo, TunnelReport, matcher::path,
    tunnel::Side,
};

use super::deadline::within;
use super::frames::{RawFrame, masked, read_frame, unmasked};
use super::raw::{ACCEPT, RawClient};
use super::serve::{Server, serve_axum};
use super::upstream::{RawConn, RawUpstream};
use super::wire::Wire;
use tungstenite::protocol::frame::Frame;

/// The two sides of a tunnel, as senders: most tests run once for each.
pub(crate) const BOTH: [Side; 2] = [Side::Client, Side::Upstream];

/// The side across the tunnel.
pub(crate) fn opposite(side: Side) -> Side {
    match side {
        Side::Client => Side::Upstream,
        _ => Side::Client,
    }
}

/// The bytes of a frame as this side sends it: masked by a client, unmasked by an upstream.
pub(crate) fn encoded_by(side: Side, frame: Frame) -> Vec<u8> {
    match side {
        Side::Client => masked(frame),
        _ => unmasked(frame),
    }
}

/// A proxy for `/ws/*` in an axum server, with an observer that records its events.
pub(crate) struct ProxyServer {
    server: Server,
    registry: Registry,
    drain: Drain,
    events: watch::Sender<Events>,
}

/// The recorded events of tunnels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    /// Tunnels that were established.
    pub(crate) opened: Vec<TunnelInfo>,
    /// Tunnels that ended.
    pub(crate) closed: Vec<(TunnelInfo, TunnelReport)>,
    /// The kinds of error of rejected handshakes.
    pub(crate) rejected: Vec<wsplice::ErrorKind>,
}

impl ProxyServer {
    /// A proxy to these upstreams, `ws://` and an address each, with the default settings.
    pub(crate) async fn to<const N: usize>(upstreams: [String; N]) -> Self {
        Self::with(upstreams, |layer| layer).await
    }

    /// A proxy with settings of its own.
    pub(crate) async fn with<const N: usize>(
        upstreams: [String; N],
        settings: impl FnOnce(ProxyLayer) -> ProxyLayer,
    ) -> Self {
        Self::served(upstreams, settings, serve_axum).await
    }

    /// A proxy to a pool, with settings of its own.
    #[cfg(feature = "http2")]
    pub(crate) async fn over(
        pool: impl Into<Pool>,
        settings: impl FnOnce(ProxyLayer) -> ProxyLayer,
    ) -> Self {
        Self::start(pool, settings, serve_axum).await
    }

    /// A proxy with settings and a server of its own.
    pub(crate) async fn served<const N: usize>(
        upstreams: [String; N],
        settings: impl FnOnce(ProxyLayer) -> ProxyLayer,
        serve: impl AsyncFnOnce(Router) -> Server,
    ) -> Self {
        let pool = Pool::new(upstreams).expect("upstreams");
        Self::start(pool, settings, serve).await
    }

    /// A proxy to a pool, with settings and a server of its own.
    pub(crate) async fn start(
        pool: impl Into<Pool>,
        settings: impl FnOnce(ProxyLayer) -> ProxyLayer,
        serve: impl AsyncFnOnce(Router) -> Server,
    ) -> Self {
        let events = watch::Sender::new(Events::default());
        let layer = ProxyLayer::new(pool)
            .matching(path("/ws/*"))
            .observer(RecordingObserver(events.clone()));
        let layer = settings(layer);
        let (registry, drain) = (layer.registry(), layer.drain());
        let app = Router::new().fallback(|| async { "inner" }).layer(layer);
        Self {
            server: serve(app).await,
            registry,
            drain,
            events,
        }
    }

    /// The address of the listener.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The registry of the layer.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The drain of the layer.
    pub(crate) fn drain(&self) -> Drain {
        self.drain.clone()
    }

    /// The events recorded so far.
    pub(crate) fn events(&self) -> Events {
        self.events.borrow().clone()
    }

    /// Waits until the events fulfill `condition`.
    pub(crate) async fn wait_for(
        &self,
        what: &str,
        mut condition: impl FnMut(&Events) -> bool,
    ) -> Events {
        let mut events = self.events.subscribe();
        let seen = within(what, events.wait_for(|events| condition(events))).await;
        seen.expect("the proxy keeps the sender").clone()
    }

    /// Waits for the end of the only tunnel so far, and returns its report. By then the registry
    /// has forgotten the tunnel.
    pub(crate) async fn report(&self) -> TunnelReport {
        let events = self
            .wait_for("the tunnel's end", |events| !events.closed.is_empty())
            .await;
        assert_eq!(events.closed.len(), 1, "{events:?}");
        assert_eq!(self.registry.count(), 0);
        events.closed[0].1.clone()
    }

    /// Waits for the end of the only tunnel of this proxy, whose registry may list others.
    pub(crate) async fn report_of_one(&self) -> TunnelReport {
        let is_over = |events: &Events| !events.closed.is_empty();
        let events = self.wait_for("the tunnel's end", is_over).await;
        events.closed[0].1.clone()
    }
}

#[derive(Debug)]
struct RecordingObserver(watch::Sender<Events>);

impl Observer for RecordingObserver {
    fn handshake_rejected(
        &self,
        _handshake: &wsplice::observe::RequestInfo<'_>,
        error: &wsplice::Error,
    ) {
        self.0
            .send_modify(|events| events.rejected.push(error.kind()));
    }

    fn tunnel_opened(&self, tunnel: &TunnelInfo) {
        self.0
            .send_modify(|events| events.opened.push(tunnel.clone()));
    }

    fn tunnel_closed(&self, tunnel: &TunnelInfo, report: &TunnelReport) {
        let closed = (tunnel.clone(), report.clone());
        self.0.send_modify(|events| events.closed.push(closed));
    }
}

/// An upstream that accepts every handshake and hands its ends to the test.
pub(crate) struct AcceptingUpstream {
    upstream: RawUpstream,
    accepted: mpsc::UnboundedReceiver<RawConn>,
}

impl AcceptingUpstream {
    /// Accepts with the usual headers.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Accepts with further headers.
    pub(crate) async fn with(extra: &'static [(&'static str, &'static str)]) -> Self {
        let (give, accepted) = mpsc::unbounded_channel();
        let upstream = RawUpstream::start(move |mut conn: RawConn| {
            let give = give.clone();
            async move {
                let head = conn.read_request_head().await;
                conn.accept_101(&head, extra).await;
                let _ = give.send(conn);
            }
        })
        .await;
        Self { upstream, accepted }
    }

    /// The URL of the listener, with `ws://`.
    pub(crate) fn url(&self) -> String {
        self.upstream.url()
    }

    /// The upstream itself.
    pub(crate) fn upstream(&self) -> &RawUpstream {
        &self.upstream
    }

    /// Waits for the upstream's end of the next tunnel.
    pub(crate) async fn next(&mut self) -> RawConn {
        let conn = within("a tunnel to reach the upstream", self.accepted.recv()).await;
        conn.expect("the script keeps the sender")
    }
}

/// Both raw ends of one tunnel.
pub(crate) struct Ends {
    pub(crate) client: RawClient,
    pub(crate) upstream: RawConn,
}

impl Ends {
    /// Opens a tunnel through the proxy to the upstream.
    pub(crate) async fn open(proxy: &ProxyServer, accepting: &mut AcceptingUpstream) -> Self {
        Self::open_with(proxy, accepting, "/ws/room", &[]).await
    }

    /// Opens a tunnel with a path and further headers of its own.
    pub(crate) async fn open_with(
        proxy: &ProxyServer,
        accepting: &mut AcceptingUpstream,
        path: &str,
        extra: &[(&str, &str)],
    ) -> Self {
        let mut client = RawClient::connect(proxy.addr()).await;
        let head = client.handshake(path, extra).await;
        assert_eq!(head.status(), 101, "{}", String::from_utf8_lossy(&head.raw));
        assert_eq!(head.get("sec-websocket-accept"), Some(ACCEPT));
        let upstream = accepting.next().await;
        Self { client, upstream }
    }

    /// The end of one side.
    pub(crate) fn end(&mut self, side: Side) -> &mut Wire {
        match side {
            Side::Client => &mut self.client,
            _ => &mut self.upstream,
        }
    }

    /// Sends bytes from one side; the other must get exactly those.
    pub(crate) async fn pass(&mut self, from: Side, bytes: &[u8]) {
        self.end(from).send(bytes).await;
        let got = self.end(opposite(from)).read_exact(bytes.len()).await;
        assert!(
            got == bytes,
            "what the {from} sent ({} bytes) changed on its way",
            bytes.len()
        );
    }

    /// Sends a frame from one side; the other must get exactly that.
    pub(crate) async fn pass_frame(&mut self, from: Side, frame: Frame) {
        self.pass(from, &encoded_by(from, frame)).await;
    }

    /// Waits for the next frame at this side.
    pub(crate) async fn frame_at(&mut self, side: Side) -> RawFrame {
        read_frame(self.end(side)).await
    }

    /// Drops one side's end and gives back the other.
    pub(crate) fn drop_end(self, side: Side) -> Survivor {
        match side {
            Side::Client => Survivor::Upstream(self.upstream),
            _ => Survivor::Client(self.client),
        }
    }

    /// Ends one side with a reset and gives back the other.
    pub(crate) fn reset(self, side: Side) -> Survivor {
        match side {
            Side::Client => {
                self.client.reset();
                Survivor::Upstream(self.upstream)
            }
            _ => {
                self.upstream.reset();
                Survivor::Client(self.client)
            }
        }
    }
}

/// The end that is left when the other is gone.
pub(crate) enum Survivor {
    Client(RawClient),
    Upstream(RawConn),
}

impl Survivor {
    /// Its end of the wire.
    pub(crate) fn wire(&mut self) -> &mut Wire {
        match self {
            Self::Client(client) => client,
            Self::Upstream(upstream) => upstream,
        }
    }
}

/// A proxy, an upstream behind it and one open tunnel.
pub(crate) async fn one_tunnel() -> (ProxyServer, AcceptingUpstream, Ends) {
    one_tunnel_with(|layer| layer).await
}

/// [`one_tunnel`], with settings.
pub(crate) async fn one_tunnel_with(
    settings: impl FnOnce(ProxyLayer) -> ProxyLayer,
) -> (ProxyServer, AcceptingUpstream, Ends) {
    let mut accepting = AcceptingUpstream::start().await;
    let proxy = ProxyServer::with([accepting.url()], settings).await;
    let ends = Ends::open(&proxy, &mut accepting).await;
    (proxy, accepting, ends)
}
