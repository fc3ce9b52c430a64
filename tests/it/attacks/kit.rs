//! The proxy that is attacked.

use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    routing::any,
};
use wsplice::{ForwardHttp, Pool, ProxyLayer, matcher::path};

use crate::support::{
    deadline::within,
    head::Head,
    raw::RawClient,
    serve::{Server, serve_axum},
    upstream::{RawConn, RawUpstream, switching_protocols},
};

/// A layer as the tests set it up.
pub(super) type Layer = ProxyLayer<ForwardHttp>;

/// A proxy that owns `/ws/*`, handshakes and other requests alike, its upstream, and around it a
/// service with everything else.
pub(super) struct Arena {
    pub(super) upstream: RawUpstream,
    pool: Pool,
    server: Server,
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
        let pool: Pool = Pool::new([upstream.url()]).expect("an address").into();
        let layer = ProxyLayer::new(pool.clone())
            .matching(path("/ws/*"))
            .forward_http(ForwardHttp::new());
        let server = serve_axum(inner().layer(settings(layer))).await;
        Self {
            upstream,
            pool,
            server,
        }
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

    /// Expects that the proxy serves as before: a tunnel, a forwarded request, and a request for the
    /// inner service; and that the upstream is leased no more after that.
    pub(super) async fn survived(&self) {
        self.serves("inner GET /alive").await;
    }

    /// Expects the same of a proxy that owns every path.
    pub(super) async fn survived_with_all_paths(&self) {
        self.serves("upstream").await;
    }

    async fn serves(&self, beside_the_route: &str) {
        let mut client = RawClient::open(self.addr(), "/ws/alive").await;
        client.send(b"bytes").await;
        assert_eq!(&client.read_exact(5).await[..], b"bytes");
        drop(client);
        for (target, text) in [("/ws/alive", "upstream"), ("/alive", beside_the_route)] {
            let mut client = RawClient::connect(self.addr()).await;
            client.send_request(target, &[]).await;
            let head = client.read_head().await;
            assert_eq!(head.status(), 200, "{target}");
            assert_eq!(client.read_body(&head).await, text);
        }
        within("all leases to end", async {
            let is_leased = || self.pool.snapshot().iter().any(|it| it.tunnels > 0);
            while is_leased() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(self.pool.snapshot().iter().all(|it| it.handshakes == 0));
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
