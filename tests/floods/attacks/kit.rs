//! The proxy that is attacked.

use std::time::Duration;

use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    routing::any,
};
use tokio::time::timeout;
use wsplice::{ForwardHttp, Pool, ProxyLayer, Registry, matcher::path};

use crate::{
    client::within,
    footprint::{Footprint, HeapGrowth},
    support::{
        head::Head,
        raw::RawClient,
        serve::{Server, serve_axum},
        upstream::{RawConn, RawUpstream, switching_protocols},
    },
};

/// Bytes by which the heap may have grown, the heads in the log of the upstream aside: the runtime
/// frees what belonged to a socket in batches, and its queues may grow.
const HEAP_SLACK: isize = 128 << 10;

/// A layer as the tests set it up.
pub(super) type Layer = ProxyLayer<ForwardHttp>;

/// A proxy that owns `/ws/*`, handshakes and other requests alike, its upstream, and around it a
/// service with everything else.
pub(super) struct Arena {
    pub(super) upstream: RawUpstream,
    pool: Pool,
    registry: Registry,
    server: Server,
    /// What the process held before the attack.
    before: Footprint,
    heap: HeapGrowth,
}

impl Arena {
    pub(super) async fn start() -> Self {
        Self::with(|layer| layer).await
    }

    /// With further settings.
    pub(super) async fn with(settings: impl FnOnce(Layer) -> Layer) -> Self {
        Self::in_front_of(RawUpstream::start(application).await, settings).await
    }

    /// With an upstream that sends these bytes in response to requests for `/ws/evil`.
    pub(super) async fn with_evil(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        let upstream = RawUpstream::start(move |mut conn: RawConn| {
            let response = response.clone();
            async move {
                while let Some(head) = conn.try_read_request_head().await {
                    if head.target() != "/ws/evil" {
                        serve(&mut conn, &head).await;
                    } else if conn.try_send(&response).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Self::in_front_of(upstream, |layer| layer).await
    }

    async fn in_front_of(upstream: RawUpstream, settings: impl FnOnce(Layer) -> Layer) -> Self {
        // The tasks of an arena before this one may still be ending.
        within("the upstream to be the only task", async {
            while Footprint::tasks_now() > 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let pool: Pool = Pool::new([upstream.url()]).expect("an address").into();
        let layer = ProxyLayer::new(pool.clone())
            .matching(path("/ws/*"))
            // A connection that is kept for another request is not what an attack left behind.
            .forward_http(ForwardHttp::new().idle_connections(0));
        let layer = settings(layer);
        let registry = layer.registry();
        let mut arena = Self {
            upstream,
            pool,
            registry,
            server: serve_axum(inner().layer(layer)).await,
            before: Footprint::now(),
            heap: HeapGrowth::since_now(),
        };
        // Once, so that tables and queues have their sizes.
        arena.serves().await;
        arena.holds_nothing().await;
        arena.upstream.forget();
        arena.heap = HeapGrowth::since_now();
        arena
    }

    pub(super) fn addr(&self) -> std::net::SocketAddr {
        self.server.addr()
    }

    /// Sends these bytes on a connection of their own; returns the head of the first response, which
    /// is missing if the server closes the connection without one.
    pub(super) async fn attack(&self, bytes: impl AsRef<[u8]>) -> (RawClient, Option<Head>) {
        let mut client = RawClient::connect(self.addr()).await;
        // The server need not take all of it.
        let _ = client.try_send(bytes.as_ref()).await;
        let head = client.try_read_head().await.ok().flatten();
        (client, head)
    }

    /// Sends these bytes, and returns the status of the first response; 400 if the server closes the
    /// connection without one.
    pub(super) async fn status(&self, bytes: impl AsRef<[u8]>) -> u16 {
        let (_client, head) = self.attack(bytes).await;
        head.map_or(400, |head| head.status())
    }

    /// The targets of all requests that reached the upstream.
    pub(super) fn reached(&self) -> Vec<String> {
        let heads = self.upstream.log().heads;
        heads.iter().map(|head| head.target().to_owned()).collect()
    }

    /// The last request head that reached the upstream.
    pub(super) fn last_head(&self) -> Head {
        self.upstream.log().heads.pop().expect("a request")
    }

    /// Expects that the proxy serves as before, and holds nothing of the attack. The clients of the
    /// attack must be gone.
    pub(super) async fn survived(&self) {
        self.serves_beside("inner GET /alive").await;
    }

    /// Expects the same of a proxy that owns every path.
    pub(super) async fn survived_with_all_paths(&self) {
        self.serves_beside("upstream").await;
    }

    async fn serves_beside(&self, expected: &str) {
        assert_eq!(self.serves().await, expected);
        self.holds_nothing().await;
        let kept = self.heap.bytes();
        let heads = self.upstream.log().heads;
        let logged: usize = heads.iter().map(|head| head.raw.len()).sum();
        // The log has each head as bytes and as text, in strings that may be twice as large.
        let slack = HEAP_SLACK + 8 * logged as isize;
        assert!(kept < slack, "{kept} bytes of the heap are kept");
    }

    /// Expects that a tunnel and a forwarded request are served; returns the response to a request
    /// beside the route.
    async fn serves(&self) -> String {
        let mut client = RawClient::open(self.addr(), "/ws/alive").await;
        client.send(b"bytes").await;
        assert_eq!(&client.read_exact(5).await[..], b"bytes");
        drop(client);
        let mut body = String::new();
        for target in ["/ws/alive", "/alive"] {
            let mut client = RawClient::connect(self.addr()).await;
            client.send_request(target, &[]).await;
            let head = client.read_head().await;
            assert_eq!(head.status(), 200, "{target}");
            body = String::from_utf8_lossy(&client.read_body(&head).await).into_owned();
            if target == "/ws/alive" {
                assert_eq!(body, "upstream");
            }
        }
        body
    }

    /// Waits until the process holds what it held before there was a client.
    async fn holds_nothing(&self) {
        let is_leased = || {
            let upstreams = self.pool.snapshot();
            upstreams.iter().any(|it| it.tunnels + it.handshakes > 0)
        };
        let held = || (self.registry.count(), is_leased(), Footprint::now());
        let expected = (0, false, self.before);
        let released = timeout(Duration::from_secs(30), async {
            while held() != expected {
                tokio::task::yield_now().await;
            }
        });
        assert!(
            released.await.is_ok(),
            "{:?} rather than {expected:?}",
            held()
        );
    }
}

/// The upstream: an echo for WebSockets, and for every other request a page.
async fn application(mut conn: RawConn) {
    while let Some(head) = conn.try_read_request_head().await {
        serve(&mut conn, &head).await;
    }
}

async fn serve(conn: &mut RawConn, head: &Head) {
    if head.get("upgrade") == Some("websocket") {
        let _ = conn.try_send(&switching_protocols(head, &[])).await;
        while let Ok(bytes) = conn.try_read_some().await {
            if bytes.is_empty() || conn.try_send(&bytes).await.is_err() {
                return;
            }
        }
        return;
    }
    let is_whole = if head.get("transfer-encoding") == Some("chunked") {
        read_chunks(conn).await
    } else {
        let length = head.get("content-length").unwrap_or("0");
        conn.read_exact(length.parse().expect("a length")).await;
        true
    };
    if !is_whole {
        return;
    }
    let page = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nupstream";
    let _ = conn.try_send(page).await;
}

/// Reads a chunked body without trailers, strictly. Returns whether it ended before the connection.
async fn read_chunks(conn: &mut RawConn) -> bool {
    let mut unread = Vec::new();
    loop {
        match conn.try_read_some().await {
            Ok(bytes) if !bytes.is_empty() => unread.extend_from_slice(&bytes),
            _ => return false,
        }
        while let Some(end) = unread.windows(2).position(|two| two == b"\r\n") {
            let digits = std::str::from_utf8(&unread[..end]).expect("a length");
            assert!(
                digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{digits:?}"
            );
            let length = usize::from_str_radix(digits, 16).expect("a length");
            let Some(line_end) = unread.get(end + 2 + length..end + 4 + length) else {
                break;
            };
            assert_eq!(line_end, b"\r\n");
            unread.drain(..end + 4 + length);
            if length == 0 {
                assert!(unread.is_empty());
                return true;
            }
        }
    }
}

/// The service around the proxy: it responds with the request's method and target.
fn inner() -> Router {
    let echo = |method: Method, uri: Uri| async move {
        match method {
            Method::CONNECT => Err(StatusCode::METHOD_NOT_ALLOWED),
            method => Ok(format!("inner {method} {uri}")),
        }
    };
    Router::new().fallback(any(echo))
}

/// `METHOD target` with these lines, and a `Host`.
pub(super) fn request(method: &str, target: &str, lines: &[&str]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: app.test\r\n");
    for line in lines {
        text += line;
        text += "\r\n";
    }
    (text + "\r\n").into_bytes()
}
