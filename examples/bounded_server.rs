//! A server with every bound that a proxy's host needs towards its clients.
//!
//! The proxy bounds what it does itself: tunnels, handshakes, and the relay of responses. The clients'
//! sockets are the host's: how long a client may take to send a head, how long it may keep an idle
//! connection, how long it may leave what was written to it, and how many connections there are.
//! `docs/hosts.md` explains each bound.
//!
//! Run it beside a WebSocket server on port 8081: `cargo run --example bounded_server`

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
    time::timeout,
};
use tower::{Layer, ServiceExt, service_fn as inner_service};
use wsplice::{Pool, Proxy, ProxyLayer, WriteTimeout, headers::ClientInfo, matcher::path};

/// Time for the head of a request: on HTTP/1.1 also the idle time before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval of pings on HTTP/2 connections, and the time for each answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Time in which a client's socket may take nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections at once. Further clients wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 10_000;

type Inner = tower::util::BoxCloneSyncService<Request<Incoming>, Response<Full<Bytes>>, Infallible>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let layer = ProxyLayer::new(Pool::new(["ws://127.0.0.1:8081"])?).matching(path("/ws/*"));
    let app = layer.layer(Inner::new(inner_service(not_found)));
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    loop {
        let place = Arc::clone(&room).acquire_owned().await?;
        let (stream, peer) = listener.accept().await?;
        let app = app.clone();
        tokio::spawn(async move {
            serve(stream, peer, app).await;
            drop(place);
        });
    }
}

/// Serves one connection, up to its end or its upgrade.
async fn serve(stream: TcpStream, peer: SocketAddr, app: Proxy<Inner>) {
    let first_request = Arc::new(Notify::new());
    let notify = Arc::clone(&first_request);
    let service = service_fn(move |mut request: Request<Incoming>| {
        notify.notify_one();
        request.extensions_mut().insert(ClientInfo::from(peer));
        app.clone().oneshot(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // For devices that compare the names of a 101's fields with their usual spelling.
        .title_case_headers(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .enable_connect_protocol();
    // Plain TCP: with TLS, the socket is wrapped before the TLS handshake.
    let stream = TokioIo::new(WriteTimeout::new(stream, WRITE_TIMEOUT));
    let connection = builder.serve_connection_with_upgrades(stream, service);
    tokio::pin!(connection);
    // The version of HTTP is read without a timeout of hyper's.
    let is_silent = timeout(HEAD_TIMEOUT, async {
        tokio::select! {
            _ = connection.as_mut() => {}
            () = first_request.notified() => {}
        }
    });
    if is_silent.await.is_ok() {
        let _ = connection.await;
    }
}

async fn not_found(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::from("not found\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    Ok(response)
}
