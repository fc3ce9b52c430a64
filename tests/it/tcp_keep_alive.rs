//! TCP keep-alive: the legs that get it, and those that pings cover.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, Socket};
use tokio::net::{TcpListener, TcpStream};
use wsplice::connect::{Address, Connect, ConnectFuture};
use wsplice::{KeepAlive, Pool, ProxyLayer, TunnelConfig, connect::TcpKeepAlive, tunnel::Framing};

use super::support::{frames, raw::RawClient, scripts, upstream::RawUpstream};

/// Keeps a second handle of the socket that it opens.
#[derive(Clone, Debug, Default)]
struct WatchSource(Arc<Mutex<Option<Socket>>>);

impl Connect for WatchSource {
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a> {
        Box::pin(async move {
            let stream = TcpStream::connect(address.to_string()).await?;
            *self.0.lock().unwrap() = Some(SockRef::from(&stream).try_clone()?);
            Ok(stream.into())
        })
    }
}

/// An open tunnel, and a second handle of each of the proxy's sockets.
struct Open {
    client: RawClient,
    client_socket: Socket,
    upstream_socket: Socket,
    _upstream: RawUpstream,
}

impl Open {
    async fn through(settings: impl FnOnce(ProxyLayer) -> ProxyLayer) -> Self {
        let upstream = RawUpstream::start(scripts::echo()).await;
        let watched = WatchSource::default();
        let layer = ProxyLayer::new(Pool::new([upstream.url()]).unwrap());
        let service = settings(layer.connector(watched.clone())).into_service();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = RawClient::connect(listener.local_addr().unwrap()).await;
        let (accepted, _) = listener.accept().await.unwrap();
        let client_socket = SockRef::from(&accepted).try_clone().unwrap();
        let connection = http1::Builder::new()
            .serve_connection(TokioIo::new(accepted), TowerToHyperService::new(service))
            .with_upgrades();
        tokio::spawn(connection);
        assert_eq!(client.handshake("/ws", &[]).await.status(), 101);
        let text = frames::masked(frames::text("the tunnel stands"));
        assert_eq!(client.exchange(&text, text.len()).await, text);
        Self {
            client,
            client_socket,
            upstream_socket: watched.0.lock().unwrap().take().unwrap(),
            _upstream: upstream,
        }
    }

    /// Whether TCP keep-alive is on for the client's leg and the upstream's.
    fn kept_alive(&self) -> (bool, bool) {
        let sockets = [&self.client_socket, &self.upstream_socket];
        let [client, upstream] = sockets.map(|socket| socket.keepalive().unwrap());
        (client, upstream)
    }
}

async fn kept_alive(settings: impl FnOnce(ProxyLayer) -> ProxyLayer) -> (bool, bool) {
    Open::through(settings).await.kept_alive()
}

const fn pings() -> KeepAlive {
    KeepAlive::new()
}

#[tokio::test]
async fn without_pings_the_kernel_looks_after_both_legs() {
    assert_eq!(kept_alive(|layer| layer).await, (true, true));
}

#[tokio::test]
async fn pings_do_by_themselves() {
    assert_eq!(
        kept_alive(|layer| layer.keep_alive(pings())).await,
        (false, false)
    );
    let client_alone = TunnelConfig::new().client_keep_alive(pings());
    assert_eq!(
        kept_alive(|layer| layer.tunnel(client_alone)).await,
        (false, true)
    );
}

#[tokio::test]
async fn what_was_set_stays_whatever_pings_do() {
    let set = |layer: ProxyLayer| {
        layer
            .client_tcp_keep_alive(TcpKeepAlive::default())
            .upstream_tcp_keep_alive(TcpKeepAlive::default())
            .keep_alive(pings())
    };
    assert_eq!(kept_alive(set).await, (true, true));
    let off = |layer: ProxyLayer| {
        layer
            .client_tcp_keep_alive(None)
            .upstream_tcp_keep_alive(None)
    };
    assert_eq!(kept_alive(off).await, (false, false));
}

#[tokio::test]
async fn pings_that_are_rare_or_cannot_find_everyone_are_not_enough() {
    let rare = pings().interval(Duration::from_secs(3600));
    assert_eq!(
        kept_alive(|layer| layer.keep_alive(rare)).await,
        (true, true)
    );
    let unread = TunnelConfig::new()
        .keep_alive(pings())
        .framing(Framing::Opaque);
    assert_eq!(kept_alive(|layer| layer.tunnel(unread)).await, (true, true));
    let lingering = |layer: ProxyLayer| layer.keep_alive(pings()).half_close_timeout(None);
    assert_eq!(kept_alive(lingering).await, (true, true));
}

#[tokio::test]
async fn where_frames_are_lost_the_kernel_takes_over_from_the_pings() {
    let mut open = Open::through(|layer| layer.keep_alive(pings())).await;
    // A length above 63 bits (RFC 6455 §5.2); it is echoed, so both directions lose their place.
    let illegal = [0x82, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    assert_eq!(open.client.exchange(&illegal, 10).await, illegal[..]);
    assert_eq!(open.kept_alive(), (true, true));
}

#[tokio::test]
async fn where_frames_are_lost_the_kernel_stays_off_if_the_host_had_it_off() {
    let off = |layer: ProxyLayer| {
        layer
            .keep_alive(pings())
            .client_tcp_keep_alive(None)
            .upstream_tcp_keep_alive(None)
    };
    let mut open = Open::through(off).await;
    let illegal = [0x82, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    assert_eq!(open.client.exchange(&illegal, 10).await, illegal[..]);
    assert_eq!(open.kept_alive(), (false, false));
}
