//! TLS at the edge: `wss` outside, `ws` inside, and HTTP/2 for browsers.
//!
//! Start a WebSocket server on port 9000 (`cargo run --example echo`), then:
//!
//! ```text
//! cargo run --example tls_edge --features http2
//! websocat --insecure wss://127.0.0.1:3443/ws/anything
//! ```
//!
//! The certificate is made up at the start. To be believed by browsers, read one from files, as
//! `wsplice-gateway` does.

use std::{error::Error, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer},
};
use tower::ServiceExt;
use wsplice::{
    Pool, ProxyLayer,
    headers::{ClientInfo, ClientScheme},
    matcher::path,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let proxy = ProxyLayer::new(Pool::new(["ws://127.0.0.1:9000"])?).matching(path("/ws/*"));
    let app = Router::new()
        .route("/", get(|| async { "the socket is at /ws/\n" }))
        .layer(proxy);

    let tls = TlsAcceptor::from(Arc::new(configuration()?));
    let listener = TcpListener::bind("127.0.0.1:3443").await?;
    println!("listening on https://{}", listener.local_addr()?);
    loop {
        let (tcp, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Of one client, or for want of descriptors: the other clients are served on.
            Err(error) => {
                eprintln!("cannot accept a connection: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (app, tls) = (app.clone(), tls.clone());
        tokio::spawn(async move {
            // For X-Forwarded-For and X-Forwarded-Proto.
            let client = ClientInfo::from(peer).with_scheme(ClientScheme::Https);
            if let Err(error) = serve(tcp, tls, client, app).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn serve(
    tcp: TcpStream,
    tls: TlsAcceptor,
    client: ClientInfo,
    app: Router,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    // The proxy does so by itself where it can reach the socket, which is not below TLS.
    tcp.set_nodelay(true)?;
    let stream = timeout(Duration::from_secs(10), tls.accept(tcp)).await??;
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(client);
        app.clone().oneshot(request)
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    // Browsers then send WebSockets over the HTTP/2 connection that they have (RFC 8441 §3). With
    // the default window, one whose upstream does not read would hold up all others.
    #[cfg(feature = "http2")]
    server
        .http2()
        .enable_connect_protocol()
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(16 << 20);
    server
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await
}

fn configuration() -> Result<ServerConfig, Box<dyn Error>> {
    let made =
        rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())?;
    // Only the protocols that are served, in order of preference.
    config.alpn_protocols = match cfg!(feature = "http2") {
        true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        false => vec![b"http/1.1".to_vec()],
    };
    Ok(config)
}
