//! A proxy that forwards, in front of raw upstreams.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, extract::ConnectInfo, http::Method, http::Uri, routing::any};
use tokio::sync::{Mutex, mpsc};
use wsplice::{ForwardHttp, Pool, ProxyLayer, headers::ClientInfo, matcher::path};

use crate::support::{
    deadline::within,
    head::Head,
    raw::RawClient,
    serve::{Server, serve_axum},
    upstream::{RawConn, RawUpstream},
};

/// A layer as the tests set it up.
pub(super) type Layer = ProxyLayer<ForwardHttp>;

/// A proxy around [`inner`] that owns `/app/*` and forwards.
pub(super) async fn proxy(
    upstreams: &[&RawUpstream],
    settings: impl FnOnce(Layer) -> Layer,
) -> Server {
    proxy_to(upstreams.iter().map(|upstream| upstream.url()), settings).await
}

/// The same, to these addresses.
pub(super) async fn proxy_to(
    urls: impl IntoIterator<Item = String>,
    settings: impl FnOnce(Layer) -> Layer,
) -> Server {
    serve_axum(inner().layer(settings(layer(Pool::new(urls).expect("addresses"))))).await
}

/// The layer alone. It finds the client's address also without the feature `axum`.
pub(super) fn layer(pool: impl Into<Pool>) -> Layer {
    ProxyLayer::new(pool)
        .client_info(|extensions| {
            let ConnectInfo(client) = extensions.get::<ConnectInfo<SocketAddr>>()?;
            Some(ClientInfo::from(*client))
        })
        .matching(path("/app/*"))
        .forward_http(ForwardHttp::new())
}

/// The service that the proxy wraps: it responds with the request's method and target.
pub(super) fn inner() -> Router {
    let echo = |method: Method, uri: Uri| async move { format!("inner {method} {uri}") };
    Router::new().fallback(any(echo))
}

/// Upstreams' connections, for the test to play them itself.
pub(super) struct Played {
    pub(super) upstream: RawUpstream,
    connections: mpsc::UnboundedReceiver<RawConn>,
}

impl Played {
    pub(super) async fn start() -> Self {
        let (sender, connections) = mpsc::unbounded_channel();
        let upstream = RawUpstream::start(move |conn| {
            let taken = sender.send(conn);
            async move { drop(taken) }
        })
        .await;
        Self {
            upstream,
            connections,
        }
    }

    /// The next connection that the proxy opens.
    pub(super) async fn accept(&mut self) -> RawConn {
        within("a connection", self.connections.recv())
            .await
            .expect("the upstream lives")
    }

    /// The next connection, and the request on it.
    pub(super) async fn request(&mut self) -> (RawConn, Head) {
        let mut conn = self.accept().await;
        let head = conn.read_request_head().await;
        (conn, head)
    }
}

/// A client that has sent this.
pub(super) async fn client(proxy: &Server, bytes: impl AsRef<[u8]>) -> RawClient {
    let mut client = RawClient::connect(proxy.addr()).await;
    client.send(bytes.as_ref()).await;
    client
}

/// `METHOD /app/x` with these lines.
pub(super) fn ask(method: &str, lines: &[&str]) -> String {
    let mut text = format!("{method} /app/x HTTP/1.1\r\nHost: app.test\r\n");
    for line in lines {
        text += line;
        text += "\r\n";
    }
    text + "\r\n"
}

/// Sends this on a connection of its own; returns the response's head and body.
pub(super) async fn answer(proxy: &Server, bytes: impl AsRef<[u8]>) -> (Head, String) {
    let mut client = client(proxy, bytes).await;
    read_answer(&mut client).await
}

/// Reads the next response on this connection.
pub(super) async fn read_answer(client: &mut RawClient) -> (Head, String) {
    let head = client.read_head().await;
    let body = client.read_body(&head).await;
    (head, String::from_utf8_lossy(&body).into_owned())
}

/// An upstream that responds to every request on every connection with 200 and its own name.
pub(super) async fn named(name: &'static str) -> RawUpstream {
    answering(move |_| {
        let length = name.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}")
    })
    .await
}

/// An upstream that responds to every request without a body, on every connection, with the bytes
/// that the function returns.
pub(super) async fn answering(
    answer: impl Fn(&Head) -> String + Send + Sync + 'static,
) -> RawUpstream {
    let answer = Arc::new(Mutex::new(answer));
    RawUpstream::start(move |mut conn| {
        let answer = Arc::clone(&answer);
        async move {
            while let Some(head) = conn.try_read_request_head().await {
                let answer = answer.lock().await(&head);
                if conn.try_send(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}
