//! An application behind TLS, or on HTTP/2: as a host serves it that cares for its cost.

use std::net::SocketAddr;

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;
use wsplice::headers::{ClientInfo, ClientScheme};

use crate::error::Result;

/// The windows and the buffer of the gateway.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 16 << 20;
const STREAM_BUFFER: usize = 64 << 10;

/// Plaintext that is buffered on a connection for a client that does not read, in bytes.
const WRITE_BUFFER: usize = 32 << 10;

/// HTTP/1.1 over TLS.
pub async fn tls(listener: TcpListener, tls: TlsAcceptor, app: Router) -> Result<()> {
    accept(listener, move |tcp, peer| {
        let client = ClientInfo::from(peer).with_scheme(ClientScheme::Https);
        let (accepting, app) = (
            tls.accept_with(tcp, |tls| tls.set_buffer_limit(Some(WRITE_BUFFER))),
            app.clone(),
        );
        async move {
            let stream = accepting.await?;
            let service = service_fn(move |request| respond(app.clone(), client, request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            Ok(connection.with_upgrades().await?)
        }
    })
    .await
}

/// HTTP/2 over TCP.
pub async fn http2(listener: TcpListener, app: Router) -> Result<()> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_BUFFER)
        .enable_connect_protocol();
    accept(listener, move |tcp, peer| {
        let (builder, app) = (builder.clone(), app.clone());
        async move {
            let client = ClientInfo::from(peer);
            let service = service_fn(move |request| respond(app.clone(), client, request));
            let connection = builder.serve_connection(TokioIo::new(tcp), service);
            Ok(connection.await?)
        }
    })
    .await
}

async fn accept<F, Fut>(listener: TcpListener, serve: F) -> Result<()>
where
    F: Fn(TcpStream, SocketAddr) -> Fut,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    loop {
        let (tcp, peer) = listener.accept().await?;
        let _ = tcp.set_nodelay(true);
        // Boxed: tokio moves the future of a task several times before and after its life.
        let serving = Box::pin(serve(tcp, peer));
        tokio::spawn(async move {
            // Of one client, which has gone.
            let _ = serving.await;
        });
    }
}

async fn respond(
    app: Router,
    client: ClientInfo,
    mut request: Request<Incoming>,
) -> std::result::Result<axum::response::Response, std::convert::Infallible> {
    request.extensions_mut().insert(client);
    app.oneshot(request).await
}
