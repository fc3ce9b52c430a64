//! Servers to put the service under test into.
//!
//! The kit and the crate meet only here, and the interface is a `Router` or a tower service.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;

use axum::Router;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower_service::Service;

/// A running server; dropping it ends the listener.
///
/// The two hyper servers end their connections too. axum spawns connections by itself, and no
/// server owns upgraded connections: those live as long as the test's runtime.
pub(crate) struct Server {
    addr: SocketAddr,
    _tasks: JoinSet<Infallible>,
}

impl Server {
    /// The address of the listener.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL of the listener, with `ws://`.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.addr)
    }
}

/// Serves `router` as an axum application that knows its clients' addresses (`ConnectInfo`).
///
/// A layer that goes around the whole router makes a service of it; `Router::fallback_service`
/// makes a router of that again.
pub(crate) async fn serve_axum(router: Router) -> Server {
    start(|listener| async move {
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        match axum::serve(listener, service).await {
            Ok(()) => panic!("axum::serve ended"),
            Err(error) => panic!("axum::serve failed: {error}"),
        }
    })
    .await
}

/// Serves `service` with hyper's plain HTTP/1 server, upgrades included.
pub(crate) async fn serve_hyper<S, B>(service: S) -> Server
where
    S: HttpService<B>,
    B: HttpBody,
{
    serve_each(move |stream| {
        let service = TowerToHyperService::new(service.clone());
        let io = TokioIo::new(stream);
        let connection = http1::Builder::new().serve_connection(io, service);
        async move {
            // The manner in which a client leaves is up to the test.
            let _ = connection.with_upgrades().await;
        }
    })
    .await
}

/// Serves `service` with hyper-util's auto server, upgrades included.
pub(crate) async fn serve_auto<S, B>(service: S) -> Server
where
    S: HttpService<B>,
    B: HttpBody,
{
    serve_each(move |stream| {
        let service = TowerToHyperService::new(service.clone());
        async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let io = TokioIo::new(stream);
            let _ = server.serve_connection_with_upgrades(io, service).await;
        }
    })
    .await
}

/// A tower service over hyper's own requests that a server can hand out copies of.
pub(crate) trait HttpService<B>:
    Service<
        Request<Incoming>,
        Response = hyper::Response<B>,
        Error: Into<Box<dyn Error + Send + Sync>>,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
}

impl<S, B> HttpService<B> for S where
    S: Service<
            Request<Incoming>,
            Response = hyper::Response<B>,
            Error: Into<Box<dyn Error + Send + Sync>>,
            Future: Send,
        > + Clone
        + Send
        + 'static
{
}

/// A response body that a server can send from another thread.
pub(crate) trait HttpBody:
    Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static
{
}

impl<B> HttpBody for B where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static
{
}

async fn serve_each<C, F>(connection: C) -> Server
where
    C: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    start(|listener| async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            connections.spawn(connection(stream));
            while connections.try_join_next().is_some() {}
        }
    })
    .await
}

/// Starts a task that serves a listener of its own.
pub(crate) async fn start<F>(serve: impl FnOnce(TcpListener) -> F) -> Server
where
    F: Future<Output = Infallible> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener));
    Server {
        addr,
        _tasks: tasks,
    }
}
