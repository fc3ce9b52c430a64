use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Error;

use crate::args::Args;
use crate::demo_upstream::DemoUpstream;
use crate::tests::own_loopback;

/// Demo upstream behind TLS, and the file with its certificate.
struct TlsUpstream {
    port: u16,
    ca: PathBuf,
    _demo: DemoUpstream,
}

impl TlsUpstream {
    async fn start(name: &str) -> Self {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let ca = std::env::temp_dir().join(format!("gateway-{}-{name}.pem", std::process::id()));
        std::fs::write(&ca, certified.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();

        let demo = DemoUpstream::start(own_loopback()).await.unwrap();
        let listener = TcpListener::bind("localhost:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(relay(listener, Arc::new(config).into(), demo.addr()));
        Self {
            port,
            ca,
            _demo: demo,
        }
    }
}

impl Drop for TlsUpstream {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ca);
    }
}

async fn relay(listener: TcpListener, acceptor: TlsAcceptor, upstream: SocketAddr) {
    while let Ok((client, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let mut client = acceptor.accept(client).await?;
            let mut server = TcpStream::connect(upstream).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, app).await });
    addr
}

/// Sends a message through a gateway with this argument: returns once it is echoed, or the status of
/// the rejection.
async fn echo(upstream: &TlsUpstream, arg: &str) -> Result<(), u16> {
    let url = format!("--upstream=wss://localhost:{}", upstream.port);
    let args = Args::parse_from(["gateway", &url, arg]);
    let pool = crate::pool::pool(&args, &args.upstreams.upstream);
    let proxy = crate::proxy::layer(&args, &args.upstreams.upstream, pool).unwrap();
    let addr = serve(crate::site::site(None).layer(proxy)).await;
    let stream = TcpStream::connect(addr).await.unwrap();
    match client_async(format!("ws://{addr}/ws/echo"), stream).await {
        Ok((mut socket, _)) => {
            socket.send("hello".into()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), "hello".into());
            Ok(())
        }
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn certificates_are_checked_against_the_file() {
    let (one, other) = tokio::join!(TlsUpstream::start("one"), TlsUpstream::start("other"));
    let own = format!("--upstream-ca={}", one.ca.display());
    let foreign = format!("--upstream-ca={}", other.ca.display());
    assert_eq!(echo(&one, &own).await, Ok(()));
    assert_eq!(echo(&one, &foreign).await, Err(502));
}

#[tokio::test]
async fn certificates_are_not_checked_with_the_insecure_option() {
    let upstream = TlsUpstream::start("any").await;
    assert_eq!(echo(&upstream, "--upstream-insecure").await, Ok(()));
}

#[test]
fn files_without_certificates_are_refused() {
    for (file, sentence) in [
        ("no/such/file", "the file cannot be read"),
        ("Cargo.toml", "there is no certificate in the PEM text"),
    ] {
        let error = Args::try_parse_from(["gateway", "--upstream-ca", file]).unwrap_err();
        assert!(error.to_string().contains(sentence), "{error}");
    }
    let both = ["gateway", "--upstream-insecure", "--upstream-ca=Cargo.toml"];
    assert!(Args::try_parse_from(both).is_err());
}
