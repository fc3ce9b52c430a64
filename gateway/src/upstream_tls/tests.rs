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

/// The demo behind TLS, and a file with the certificate that it shows.
struct Secured {
    port: u16,
    ca: PathBuf,
    _demo: DemoUpstream,
}

impl Secured {
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

        let demo = DemoUpstream::start().await.unwrap();
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

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ca);
    }
}

async fn relay(listener: TcpListener, acceptor: TlsAcceptor, to: SocketAddr) {
    while let Ok((near, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let mut near = acceptor.accept(near).await?;
            let mut far = TcpStream::connect(to).await?;
            tokio::io::copy_bidirectional(&mut near, &mut far).await
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

/// What a client of a gateway with this argument gets: its echo, or the status of a refusal.
async fn echo(secured: &Secured, arg: &str) -> Result<(), u16> {
    let upstream = format!("--upstream=wss://localhost:{}", secured.port);
    let args = Args::parse_from(["gateway", &upstream, arg]);
    let pool = crate::proxy::pool(&args, &args.upstream);
    let (app, _drain) = crate::app(&args, &args.upstream, pool).unwrap();
    let addr = serve(app).await;
    let stream = TcpStream::connect(addr).await.unwrap();
    match client_async(format!("ws://{addr}/ws/echo"), stream).await {
        Ok((mut socket, _)) => {
            socket.send("hello".into()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), "hello".into());
            Ok(())
        }
        Err(Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn certificates_are_checked_against_the_file() {
    let (one, other) = tokio::join!(Secured::start("one"), Secured::start("other"));
    let own = format!("--upstream-ca={}", one.ca.display());
    let foreign = format!("--upstream-ca={}", other.ca.display());
    assert_eq!(echo(&one, &own).await, Ok(()));
    assert_eq!(echo(&one, &foreign).await, Err(502));
}

#[tokio::test]
async fn certificates_are_not_checked_if_so_desired() {
    let secured = Secured::start("any").await;
    assert_eq!(echo(&secured, "--upstream-insecure").await, Ok(()));
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
