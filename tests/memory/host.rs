//! A server with the proxy in it.

use std::{
    net::{SocketAddr, TcpListener},
    thread,
};

use axum::{Router, body::Body};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::oneshot,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use wsplice::{Pool, ProxyLayer, Registry, matcher::path, proxy::RequestScope};

use crate::{tls, wire::DEADLINE};

/// The kind of server that runs the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// `axum::serve`.
    Axum,
    /// hyper-util's auto server.
    Auto,
    /// The same inside TLS.
    AutoTls,
}

/// A server with the proxy, in a thread of its own with a runtime of its own.
pub(crate) struct Host {
    pub(crate) addr: SocketAddr,
    pub(crate) registry: Registry,
    thread: Option<thread::JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Host {
    pub(crate) fn start(
        server: Server,
        upstream: SocketAddr,
        settings: fn(ProxyLayer) -> ProxyLayer,
    ) -> Self {
        Self::serving(server, upstream, settings)
    }

    /// The same for a layer that may take more than WebSockets.
    pub(crate) fn serving<T>(
        server: Server,
        upstream: SocketAddr,
        settings: impl FnOnce(ProxyLayer) -> ProxyLayer<T>,
    ) -> Self
    where
        T: RequestScope<Body> + 'static,
    {
        let pool = Pool::new([format!("ws://{upstream}")]).unwrap();
        let layer = settings(ProxyLayer::new(pool).matching(path("/ws/*")));
        let registry = layer.registry();
        let app = Router::new().fallback(|| async { "nothing" }).layer(layer);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || serve(server, listener, app, stopped));
        Self {
            addr,
            registry,
            thread: Some(thread),
            stop: Some(stop),
        }
    }

    /// Waits until no tunnel is open. A tunnel leaves the registry after its sockets are closed.
    pub(crate) fn wait_until_empty(&self) {
        let began = std::time::Instant::now();
        while self.registry.count() > 0 {
            assert!(began.elapsed() < DEADLINE, "{:?}", self.registry);
            thread::yield_now();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

/// One thread, so that the count does not depend on which thread allocated.
fn serve(server: Server, listener: TcpListener, app: Router, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let serving = async {
            match server {
                Server::Axum => {
                    let app = app.into_make_service_with_connect_info::<SocketAddr>();
                    axum::serve(listener, app).await.unwrap();
                }
                Server::Auto => accept(listener, app, async |tcp| tcp).await,
                Server::AutoTls => {
                    let acceptor = TlsAcceptor::from(tls::server());
                    accept(listener, app, async |tcp| {
                        acceptor.accept(tcp).await.unwrap()
                    })
                    .await;
                }
            }
        };
        tokio::select! {
            () = serving => {}
            _ = stopped => {}
        }
    });
}

/// Serves each connection, one TLS handshake at a time.
async fn accept<S>(
    listener: tokio::net::TcpListener,
    app: Router,
    secure: impl AsyncFn(TcpStream) -> S,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let (tcp, _) = accepted.unwrap();
                tcp.set_nodelay(true).unwrap();
                let stream = secure(tcp).await;
                connections.spawn(connection(stream, app.clone()));
            }
        }
    }
}

async fn connection<S>(stream: S, app: Router)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http2()
        .max_concurrent_streams(1000)
        .enable_connect_protocol();
    let service = TowerToHyperService::new(app);
    // The manner in which a client leaves is up to the test.
    let _ = server
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}
