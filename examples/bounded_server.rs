//! A server with every bound that a proxy's host needs towards its clients.
//!
//! The proxy bounds what it does itself: tunnels, handshakes, and the relay of responses. The clients'
//! sockets are the host's: how long a client may take to send a head, how long it may keep an idle
//! connection, how long it may leave what was written to it, and how many connections there are.
//! `docs/hosts.md` explains each bound.
//!
//! ```text
//! cargo run --example echo -- 8081
//! cargo run --example bounded_server
//! websocat ws://127.0.0.1:8080/ws/room
//! ```

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    body::{Body, Bytes, Incoming},
    rt::Executor,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn as inner_service, util::BoxCloneSyncService};
use wsplice::{Pool, ProxyLayer, accept::WriteTimeout, headers::ClientInfo, matcher::path};

/// Connections that wait in the kernel to be accepted. A client beyond that may take its connection
/// for open although the server never gets it.
const BACKLOG: u32 = 4096;

/// Bytes that are buffered for a connection of HTTP/1.1, or a stream of HTTP/2, whose client does not
/// read; over HTTP/1.1 also those of a request's head. The default is 400 KiB for each.
const MAX_BUFFER: usize = 64 << 10;

/// Pause after an `accept` that failed, for lack of file descriptors as a rule.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(500);

/// The application: the proxy, around the service for all that is not proxied.
pub(crate) type App = BoxCloneSyncService<Request<Incoming>, Response<AppBody>, Infallible>;
type AppBody = UnsyncBoxBody<Bytes, BoxError>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

type Inner = BoxCloneSyncService<Request<Incoming>, Response<Full<Bytes>>, Infallible>;

/// Bounds on what clients may do with their connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Time for the head of a request: on HTTP/1.1 also the idle time before it.
    pub(crate) head: Duration,
    /// Idle time of an HTTP/2 connection: no request is in flight and no WebSocket open.
    pub(crate) http2_idle: Duration,
    /// Interval of pings on HTTP/2 connections, and the time for each answer.
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    /// Time in which a client's socket may take nothing.
    pub(crate) write: Duration,
    /// Connections at once. Further clients wait in the kernel's queue.
    pub(crate) connections: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            http2_idle: Duration::from_secs(60),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            write: Duration::from_secs(60),
            connections: 10_000,
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let layer = ProxyLayer::new(Pool::new(["ws://127.0.0.1:8081"])?).matching(path("/ws/*"));
    let proxy = layer.layer(Inner::new(inner_service(not_found)));
    let app = App::new(proxy.map_response(|response| response.map(BodyExt::boxed_unsync)));
    let listener = listen(([127, 0, 0, 1], 8080).into())?;
    accept(listener, app, Bounds::default()).await;
    Ok(())
}

/// Listens with a queue that is long enough for a burst of clients.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(cfg!(not(windows)))?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Accepts and serves connections, without end.
pub(crate) async fn accept(listener: TcpListener, app: App, bounds: Bounds) {
    let room = Arc::new(Semaphore::new(bounds.connections));
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        // A client that left, or a lack of descriptors, must not end the server.
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(ACCEPT_RETRY_DELAY).await;
            continue;
        };
        let app = app.clone();
        tokio::spawn(async move {
            serve(stream, peer, app, bounds).await;
            drop(place);
        });
    }
}

/// Serves one connection, up to its end or its upgrade.
async fn serve(stream: TcpStream, peer: SocketAddr, app: App, bounds: Bounds) {
    let requests = watch::Sender::new(0);
    let in_flight = requests.subscribe();
    let builder = builder(bounds, Streams(requests.clone()));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ClientInfo::from(peer));
        let place = InFlight::enter(&requests);
        let response = app.clone().oneshot(request);
        // The place is held up to the end of the body.
        async { Ok::<_, Infallible>(response.await?.map(|body| place.hold(body))) }
    });
    // Plain TCP: with TLS, the socket is wrapped before the TLS handshake.
    let stream = TokioIo::new(WriteTimeout::new(stream, bounds.write));
    let mut connection = pin!(builder.serve_connection_with_upgrades(stream, service));
    let idle = tokio::select! {
        _ = connection.as_mut() => return,
        idle = idle(in_flight, bounds) => idle,
    };
    match idle {
        Idle::NoRequest => {}
        Idle::NoMore => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

fn builder(bounds: Bounds, streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .max_buf_size(MAX_BUFFER)
        .header_read_timeout(bounds.head)
        // For devices that compare the names of a 101's fields with their usual spelling.
        .title_case_headers(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(bounds.ping_interval)
        .keep_alive_timeout(bounds.ping_timeout)
        .max_send_buf_size(MAX_BUFFER)
        .enable_connect_protocol();
    builder
}

/// Why a connection is idle.
enum Idle {
    /// No request came in time. The version of HTTP is read without a timeout of hyper's.
    NoRequest,
    /// No further request came, and nothing is open.
    NoMore,
}

/// Waits until a connection is idle.
async fn idle(mut in_flight: watch::Receiver<usize>, bounds: Bounds) -> Idle {
    if timeout(bounds.head, in_flight.changed()).await.is_err() {
        return Idle::NoRequest;
    }
    loop {
        let _ = in_flight.wait_for(|count| *count == 0).await;
        let next = timeout(bounds.http2_idle, in_flight.changed());
        if next.await.is_err() {
            return Idle::NoMore;
        }
    }
}

/// A request in flight, up to the end of its response, or a stream up to its end.
struct InFlight(watch::Sender<usize>);

impl InFlight {
    fn enter(requests: &watch::Sender<usize>) -> Self {
        requests.send_modify(|count| *count += 1);
        Self(requests.clone())
    }

    /// Keeps the place until the body is dropped.
    fn hold(self, body: AppBody) -> impl Body<Data = Bytes, Error = BoxError> {
        body.map_err(move |error| {
            let _ = &self;
            error
        })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Executor of a connection. hyper runs each stream of HTTP/2 in a task, and one that became a WebSocket
/// in another, up to the WebSocket's end.
#[derive(Clone)]
struct Streams(watch::Sender<usize>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let place = InFlight::enter(&self.0);
        tokio::spawn(async move {
            stream.await;
            drop(place);
        });
    }
}

async fn not_found(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::from("not found\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    Ok(response)
}
