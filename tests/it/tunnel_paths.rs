//! Slow readers, and endpoints that never hang up, over each kind of connection.
//!
//! The scenes are generic over the connection of each endpoint, its [`Path`]; a [`Site`] is a proxy
//! between two kinds of them. Scenes over HTTP/2 are run by `http2_paths`, those with upstreams
//! inside TLS by `tls_paths`.

use std::{marker::PhantomData, net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};
use wsplice::{
    KeepAlive, Pool, ProxyLayer, TunnelConfig,
    tunnel::{Side, TunnelEnd},
};

use crate::support::{
    deadline::within,
    frames::{FrameHead, RawFrame, binary, close, pong},
    head::Head,
    raw::handshake_request,
    rng::payload,
    serve::{Server, serve_axum},
    tls::{TlsClient, serve_tls},
    tunnels::{AcceptingUpstream, ProxyServer, encoded_by, opposite},
    upstream::RawConn,
    wire::Wire,
};

/// The frames of a burst, and the payload of each: a mebibyte together.
const BURST: (usize, usize) = (16, 64 * 1024);

/// A slow endpoint reads so much, and then waits.
const SIP: usize = 32 * 1024;
const BETWEEN_SIPS: Duration = Duration::from_millis(62);

/// The end of a connection, in the hands of an endpoint.
pub(crate) trait Path {
    /// Reads exactly so many bytes.
    async fn exactly(&mut self, len: usize) -> Vec<u8>;
    async fn send(&mut self, bytes: &[u8]);
    /// Waits for the orderly end of the connection, with nothing before it.
    async fn orderly_end(&mut self);
}

/// A path that its endpoint can leave in several ways.
pub(crate) trait Leave: Path {
    /// Ends the connection in order, but without a close frame.
    async fn end(self);
    /// Leaves the connection as a process does that is killed.
    async fn kill(self);
    /// Resets the connection.
    async fn reset(self);
}

/// Any stream as a path.
pub(crate) struct Streamed<S>(pub(crate) S);

impl<S: AsyncRead + AsyncWrite + Unpin> Path for Streamed<S> {
    async fn exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let read = within("more bytes", self.0.read_exact(&mut bytes)).await;
        read.expect("the tunnel was cut off");
        bytes
    }

    async fn send(&mut self, bytes: &[u8]) {
        let sending = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        within("bytes to be taken", sending).await.expect("sending");
    }

    async fn orderly_end(&mut self) {
        let mut rest = Vec::new();
        let end = within("the end", self.0.read_to_end(&mut rest)).await;
        end.expect("an orderly end");
        assert_eq!(rest, b"", "nothing before the end");
    }
}

impl Path for RawConn {
    async fn exactly(&mut self, len: usize) -> Vec<u8> {
        self.read_exact(len).await.to_vec()
    }

    async fn send(&mut self, bytes: &[u8]) {
        Wire::send(self, bytes).await;
    }

    async fn orderly_end(&mut self) {
        self.expect_eof().await;
    }
}

impl Leave for RawConn {
    async fn end(self) {}

    async fn kill(self) {}

    async fn reset(self) {
        Self::reset(self);
    }
}

/// Reads a frame, slowly if it is long.
pub(crate) async fn slow_frame(path: &mut impl Path) -> RawFrame {
    frame_in_sips(path, SIP, BETWEEN_SIPS).await
}

/// Reads a frame, and waits after so many bytes of it each, if it is long.
pub(crate) async fn frame_in_sips(path: &mut impl Path, sip: usize, wait: Duration) -> RawFrame {
    let mut head = path.exactly(2).await;
    head.extend(path.exactly(FrameHead::rest_len(&head)).await);
    let head = FrameHead::new(head);
    let mut payload = Vec::with_capacity(head.len);
    while payload.len() < head.len {
        payload.extend(path.exactly(sip.min(head.len - payload.len())).await);
        if head.len > 125 {
            sleep(wait).await;
        }
    }
    head.with_payload(payload)
}

/// Pings this side often. A pong is due before a slow endpoint has read a burst, which takes two seconds.
pub(crate) fn impatient(side: Side) -> TunnelConfig {
    let keep_alive = KeepAlive::default()
        .interval(Duration::from_millis(200))
        .pong_timeout(Duration::from_secs(1));
    let config = TunnelConfig::new().write_timeout(Duration::from_secs(10));
    match side {
        Side::Client => config.client_keep_alive(keep_alive),
        _ => config.upstream_keep_alive(keep_alive),
    }
}

/// A burst, and then silence, to an endpoint that reads half a mebibyte a second and answers the
/// pings that it comes to: the tunnel stays open.
pub(crate) async fn burst(
    proxy: &ProxyServer,
    to: Side,
    reader: &mut impl Path,
    from: &mut impl Path,
) {
    let (frames, len) = BURST;
    let sent: Vec<_> = (0..frames as u64)
        .map(|seed| encoded_by(opposite(to), binary(&payload(seed, len))))
        .collect();
    let all = sent.concat();
    let reading = async {
        let (mut received, mut pings) = (Vec::new(), 0);
        // Pings go on after the burst, and are answered in time.
        while received.len() < frames || pings < 3 {
            let frame = slow_frame(reader).await;
            if frame.first == 0x89 {
                pings += 1;
                reader.send(&encoded_by(to, pong(&frame.payload))).await;
            } else {
                received.push(frame.raw);
            }
        }
        received
    };
    let (received, ()) = tokio::join!(reading, from.send(&all));
    assert!(received == sent, "the {to} received other bytes");
    assert_eq!(proxy.registry().count(), 1, "the tunnel is open");
    assert!(proxy.events().closed.is_empty());
}

/// Short waits for the end of connections once both endpoints have closed.
pub(crate) fn closes_soon() -> TunnelConfig {
    TunnelConfig::new().close_timeout(Duration::from_millis(200))
}

/// Both endpoints close, and neither ends its connection: the proxy ends both in order.
pub(crate) async fn both_closes(
    proxy: &ProxyServer,
    first: Side,
    closer: &mut impl Path,
    other: &mut impl Path,
) {
    let question = encoded_by(first, close(4001, "enough"));
    closer.send(&question).await;
    assert_eq!(other.exactly(question.len()).await, question);
    let answer = encoded_by(opposite(first), close(4001, ""));
    other.send(&answer).await;
    assert_eq!(closer.exactly(answer.len()).await, answer);
    closer.orderly_end().await;
    other.orderly_end().await;
    let report = proxy.report().await;
    assert_eq!((report.end, report.initiator), (TunnelEnd::Closed, first));
    assert_eq!(report.unanswered_close, None);
}

/// A kind of clients, and the server of the proxy for them.
pub(crate) trait Clients {
    type Path: Path;
    async fn serve(router: Router) -> Server;
    /// Opens a tunnel.
    async fn open(proxy: SocketAddr) -> Self::Path;
}

/// A kind of upstreams.
pub(crate) trait Upstreams: Sized {
    type Path: Leave;
    async fn start() -> Self;
    fn pool(&self) -> Pool;
    /// Adds the settings that these upstreams need.
    fn set(&self, layer: ProxyLayer) -> ProxyLayer {
        layer
    }
    /// Accepts the next tunnel.
    async fn accept(&mut self) -> Self::Path;
}

/// A proxy between clients of one kind and an upstream of one kind.
pub(crate) struct Site<C, U> {
    pub(crate) proxy: ProxyServer,
    upstream: U,
    clients: PhantomData<C>,
}

/// A site, and both ends of its first tunnel.
pub(crate) type Opened<C, U> = (Site<C, U>, <C as Clients>::Path, <U as Upstreams>::Path);

impl<C: Clients, U: Upstreams> Site<C, U> {
    async fn start(config: TunnelConfig) -> Self {
        let upstream = U::start().await;
        let settings = |layer: ProxyLayer| upstream.set(layer.tunnel(config));
        let proxy = ProxyServer::start(upstream.pool(), settings, C::serve).await;
        Self {
            proxy,
            upstream,
            clients: PhantomData,
        }
    }

    /// Opens a tunnel: both of its ends.
    pub(crate) async fn open(&mut self) -> (C::Path, U::Path) {
        tokio::join!(C::open(self.proxy.addr()), self.upstream.accept())
    }

    /// A site with these settings and a tunnel.
    pub(crate) async fn opened(config: TunnelConfig) -> Opened<C, U> {
        let mut site = Self::start(config).await;
        let (client, upstream) = site.open().await;
        (site, client, upstream)
    }
}

/// Clients, or upstreams, on plain TCP.
pub(crate) struct Tcp<T = ()>(T);

/// Clients inside TLS.
pub(crate) struct Tls;

impl Clients for Tcp {
    type Path = Streamed<TcpStream>;

    async fn serve(router: Router) -> Server {
        serve_axum(router).await
    }

    async fn open(proxy: SocketAddr) -> Self::Path {
        let mut client = Streamed(TcpStream::connect(proxy).await.expect("a connection"));
        client.send(&handshake_request("/ws/room", &[])).await;
        let head = client.head().await;
        assert_eq!(head.status(), 101, "{}", String::from_utf8_lossy(&head.raw));
        client
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Streamed<S> {
    /// Reads a head, and no byte after it.
    pub(crate) async fn head(&mut self) -> Head {
        let mut bytes = Vec::new();
        loop {
            bytes.extend(self.exactly(1).await);
            if let Some(head) = Head::parse(&bytes) {
                return head;
            }
        }
    }
}

impl Clients for Tls {
    type Path = Streamed<TlsClient>;

    async fn serve(router: Router) -> Server {
        serve_tls(router).await
    }

    async fn open(proxy: SocketAddr) -> Self::Path {
        Streamed(TlsClient::open(proxy, "/ws/room").await)
    }
}

impl Upstreams for Tcp<AcceptingUpstream> {
    type Path = RawConn;

    async fn start() -> Self {
        Self(AcceptingUpstream::start().await)
    }

    fn pool(&self) -> Pool {
        Pool::new([self.0.url()]).expect("an upstream").build()
    }

    async fn accept(&mut self) -> RawConn {
        self.0.next().await
    }
}

/// Upstreams on plain TCP.
pub(crate) type TcpUpstreams = Tcp<AcceptingUpstream>;

/// Each side reads slowly, once each, and is alive.
pub(crate) async fn slow_readers<C: Clients, U: Upstreams>() {
    let (site, mut client, mut upstream) = Site::<C, U>::opened(impatient(Side::Client)).await;
    burst(&site.proxy, Side::Client, &mut client, &mut upstream).await;
    let (site, mut client, mut upstream) = Site::<C, U>::opened(impatient(Side::Upstream)).await;
    burst(&site.proxy, Side::Upstream, &mut upstream, &mut client).await;
}

/// Each side closes first, once each, and neither hangs up.
pub(crate) async fn neither_hangs_up<C: Clients, U: Upstreams>() {
    let (site, mut client, mut upstream) = Site::<C, U>::opened(closes_soon()).await;
    both_closes(&site.proxy, Side::Client, &mut client, &mut upstream).await;
    let (site, mut client, mut upstream) = Site::<C, U>::opened(closes_soon()).await;
    both_closes(&site.proxy, Side::Upstream, &mut upstream, &mut client).await;
}

#[tokio::test]
async fn slow_steady_readers_are_alive() {
    slow_readers::<Tcp, TcpUpstreams>().await;
}

#[tokio::test]
async fn slow_steady_readers_are_alive_with_clients_inside_tls() {
    slow_readers::<Tls, TcpUpstreams>().await;
}

#[tokio::test]
async fn both_legs_are_ended_once_both_closes_have_passed_although_neither_side_hangs_up() {
    neither_hangs_up::<Tcp, TcpUpstreams>().await;
}

#[tokio::test]
async fn both_legs_are_ended_inside_tls_too_although_neither_side_hangs_up() {
    neither_hangs_up::<Tls, TcpUpstreams>().await;
}
