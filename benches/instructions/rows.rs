//! The rows: each function performs its operation `count` times.

use std::{
    future::{Future, pending, poll_fn},
    hint::black_box,
    pin::pin,
    process::exit,
    task::Poll,
};

use http::Request;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, duplex},
    runtime::Builder,
    sync::mpsc,
};
use tower::Service;
use wsplice::{
    ForwardHttp, KeepAlive, Pool, ProxyLayer, Upstream,
    balance::{Balance, LeastTunnels},
    connect::{Address, Connect, ConnectFuture},
    head::RequestHead,
    testing::MockCandidates,
};

use crate::{
    frames::{CLOSE, PING, PONG, finish, masked, read_control, send, unmasked},
    host::{Ends, Host, Network, handshake_request, read_to, upgradable},
};

/// Tunnels that [`close`] opens, however many of them it closes.
pub(crate) const TUNNELS_TO_CLOSE: u32 = 450;

/// A masked and an unmasked binary frame of 16 bytes.
const UP: [u8; 22] = *b"\x82\x90\x01\x02\x03\x040123456789abcdef";
const DOWN: [u8; 18] = *b"\x82\x100123456789abcdef";

/// An ordinary request, with the headers that a browser sends, and its response.
const GET: &[u8] = b"GET /api/rooms/7?since=12 HTTP/1.1\r\n\
    Host: chat.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0)\r\n\
    Accept: application/json\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://chat.example.com/\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef\r\n\
    Connection: keep-alive\r\n\r\n";
const FIVE_BYTES: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: application/json\r\n\
    Cache-Control: no-store\r\n\
    Content-Length: 5\r\n\r\n[1,2]";

/// 16 bytes from the client to the upstream.
pub(crate) fn message_to_upstream(count: u32) {
    in_memory(async move {
        let mut host = Host::new(layer(3));
        let mut ends = host.open().await;
        for _ in 0..count {
            pass(&mut ends.client, &mut ends.upstream, &UP).await;
        }
        (host, ends)
    });
}

/// 16 bytes from the upstream to the client.
pub(crate) fn message_to_client(count: u32) {
    in_memory(async move {
        let mut host = Host::new(layer(3));
        let mut ends = host.open().await;
        for _ in 0..count {
            pass(&mut ends.upstream, &mut ends.client, &DOWN).await;
        }
        (host, ends)
    });
}

/// 16 bytes from a client inside TLS to the upstream.
pub(crate) fn tls_message_to_upstream(count: u32) {
    in_memory(async move {
        let mut host = Host::new(layer(3));
        let mut ends = host.open_tls().await;
        for _ in 0..count {
            pass(&mut ends.client, &mut ends.upstream, &UP).await;
        }
        (host, ends)
    });
}

/// 16 bytes from the upstream to a client inside TLS.
pub(crate) fn tls_message_to_client(count: u32) {
    in_memory(async move {
        let mut host = Host::new(layer(3));
        let mut ends = host.open_tls().await;
        for _ in 0..count {
            pass(&mut ends.upstream, &mut ends.client, &DOWN).await;
        }
        (host, ends)
    });
}

/// 16 bytes from a client on HTTP/2 to the upstream.
pub(crate) fn http2_message_to_upstream(count: u32) {
    in_memory(async move {
        let mut host = Host::new(layer(3));
        let mut ends = host.open_http2().await;
        for _ in 0..count {
            pass(&mut ends.client, &mut ends.upstream, &UP).await;
        }
        (host, ends)
    });
}

/// 16 bytes from the upstream to a client on HTTP/2.
pub(crate) fn http2_message_to_client(count: u32) {
    in_memory(async move {
        let mut host = Host::new(layer(3));
        let mut ends = host.open_http2().await;
        for _ in 0..count {
            pass(&mut ends.upstream, &mut ends.client, &DOWN).await;
        }
        (host, ends)
    });
}

/// A ping to each side, and its pong, in an interval in which nothing else passes.
pub(crate) fn ping_pair(count: u32) {
    in_memory(async move {
        let mut host = Host::new(layer(3));
        let mut ends = host.open().await;
        for _ in 0..count {
            let cookie = read_control(&mut ends.client, PING).await;
            send(&mut ends.client, &masked(PONG, &cookie)).await;
            let cookie = read_control(&mut ends.upstream, PING).await;
            send(&mut ends.upstream, &unmasked(PONG, &cookie)).await;
        }
        (host, ends)
    });
}

/// A handshake from the client's first byte to the 101 that it gets; the tunnel stays open.
pub(crate) fn handshake(count: u32) {
    in_memory(async move {
        let mut host = Host::new(layer(3));
        let tunnels = open(&mut host, count).await;
        (host, tunnels)
    });
}

/// The end of a tunnel: the client's close frame, the upstream's, and the end of both connections.
pub(crate) fn close(count: u32) {
    in_memory(async move {
        let mut host = Host::new(layer(3));
        let mut tunnels = open(&mut host, TUNNELS_TO_CLOSE).await;
        let code = 1000_u16.to_be_bytes();
        for mut ends in tunnels.drain(..count as usize) {
            send(&mut ends.client, &masked(CLOSE, &code)).await;
            assert_eq!(read_control(&mut ends.upstream, CLOSE).await, code);
            send(&mut ends.upstream, &unmasked(CLOSE, &code)).await;
            assert_eq!(read_control(&mut ends.client, CLOSE).await, code);
            finish(&mut ends.upstream, &mut ends.client).await;
            finish(&mut ends.client, &mut ends.upstream).await;
        }
        (host, tunnels)
    });
}

/// A forwarded `GET` on connections that are open, and its response of five bytes.
pub(crate) fn forwarded_get(count: u32) {
    in_memory(async move {
        let (accepted, mut upstreams) = mpsc::unbounded_channel();
        let layer = layer(1).connector(Network(accepted));
        let service = layer.forward_http(ForwardHttp::new()).into_service();
        let (mut client, near) = duplex(16 * 1024);
        let connection = http1::Builder::new()
            .auto_date_header(false)
            .serve_connection(TokioIo::new(near), TowerToHyperService::new(service));
        tokio::spawn(async { connection.await.unwrap() });
        send(&mut client, GET).await;
        let mut upstream = upstreams.recv().await.unwrap();
        for _ in 0..count {
            read_to(&mut upstream, b"\r\n\r\n").await;
            send(&mut upstream, FIVE_BYTES).await;
            read_to(&mut client, b"[1,2]").await;
            send(&mut client, GET).await;
        }
        (client, upstream, upstreams)
    });
}

/// A handshake from the service's call until one of 100 upstreams is leased and its connect begins;
/// then the client leaves, and the lease is returned.
pub(crate) fn pick(count: u32) {
    in_memory(async move {
        let (client, on_upgrade) = upgradable().await;
        let request = handshake_request(on_upgrade);
        let mut service = layer(100).connector(Unreachable).into_service();
        for _ in 0..count {
            let call = service.call(request.clone());
            let mut call = pin!(call);
            let polled = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx)));
            assert!(polled.await.is_pending());
        }
        client
    });
}

/// The default policy's choice among 100 upstreams.
pub(crate) fn balance(count: u32) {
    in_memory(async move {
        let names = (0..100).map(|number| format!("ws://up-{number}.test:8080"));
        let mut mock =
            MockCandidates::from_upstreams(names.map(|name| Upstream::new(&name).unwrap()));
        for index in 0..100 {
            for _ in 0..index % 5 {
                mock.open(index);
            }
        }
        let policy = LeastTunnels::new();
        let candidates = mock.candidates();
        let request = Request::new(());
        let head = RequestHead::from(&request);
        for _ in 0..count {
            black_box(policy.pick(black_box(&candidates), black_box(&head)));
        }
    });
}

/// The layer as it is mostly used: pings on, and a pool of a few upstreams.
fn layer(upstreams: usize) -> ProxyLayer {
    let addresses = (0..upstreams).map(|number| format!("ws://up-{number}.test:8080"));
    ProxyLayer::new(Pool::new(addresses).unwrap()).keep_alive(KeepAlive::default())
}

/// Runs a row on a paused clock, in a task of its own: the runtime's first future would park the
/// thread each time it waits. The process ends with the row, so that the end of tunnels that are
/// still open is not counted.
fn in_memory<T: Send + 'static>(row: impl Future<Output = T> + Send + 'static) {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let row = runtime.spawn(async {
        let _open = row.await;
        exit(0);
    });
    let failed: Result<(), _> = runtime.block_on(row);
    failed.unwrap();
}

async fn open(host: &mut Host, count: u32) -> Vec<Ends> {
    let mut tunnels = Vec::with_capacity(count as usize);
    for _ in 0..count {
        tunnels.push(host.open().await);
    }
    tunnels
}

async fn pass(
    from: &mut (impl AsyncWrite + Unpin),
    to: &mut (impl AsyncRead + Unpin),
    frame: &[u8],
) {
    send(from, frame).await;
    let mut passed = [0; UP.len()];
    let passed = &mut passed[..frame.len()];
    to.read_exact(passed).await.unwrap();
    assert_eq!(passed, frame);
}

/// A connector whose connects never complete.
#[derive(Debug)]
struct Unreachable;

impl Connect for Unreachable {
    fn connect<'a>(&'a self, _address: &'a Address) -> ConnectFuture<'a> {
        Box::pin(pending())
    }
}
