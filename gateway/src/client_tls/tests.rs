use super::*;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::serve::Stopped;
use crate::tests::Running;

/// A certificate for `localhost`, its key, and the files with both.
struct Identity {
    chain: PathBuf,
    key: PathBuf,
    certificate: CertificateDer<'static>,
}

impl Identity {
    fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("gateway-edge-{}-{number}", std::process::id());
        let (chain, key) = ["pem", "key"]
            .map(|kind| std::env::temp_dir().join(format!("{name}.{kind}")))
            .into();
        let mut identity = Self {
            chain,
            key,
            certificate: CertificateDer::from(Vec::new()),
        };
        identity.renew();
        identity
    }

    /// Writes another certificate and key into the files.
    fn renew(&mut self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(&self.chain, made.cert.pem()).unwrap();
        fs::write(&self.key, made.signing_key.serialize_pem()).unwrap();
        self.certificate = made.cert.der().clone();
    }

    async fn gateway(&self, more: &[&str]) -> Running {
        let files = [
            format!("--tls-cert={}", self.chain.display()),
            format!("--tls-key={}", self.key.display()),
        ];
        let mut args = vec!["--tls-listen=127.0.0.1:0", &files[0], &files[1]];
        args.extend(more);
        Running::start(&args).await
    }

    /// A client that believes in this certificate, as it is now.
    async fn connect(
        &self,
        addr: SocketAddr,
        alpn: &[&str],
    ) -> io::Result<ClientStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let tcp = TcpStream::connect(addr).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
    }

    async fn websocket(&self, gateway: &Running) -> WebSocketStream<ClientStream<TcpStream>> {
        let stream = self.connect(secured(gateway), &["http/1.1"]).await.unwrap();
        let (socket, _) = client_async("wss://localhost/ws/echo", stream)
            .await
            .unwrap();
        socket
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        for file in [&self.chain, &self.key] {
            let _ = fs::remove_file(file);
        }
    }
}

fn secured(gateway: &Running) -> SocketAddr {
    gateway.secured.unwrap()
}

fn protocol(stream: &ClientStream<TcpStream>) -> Option<&str> {
    std::str::from_utf8(stream.get_ref().1.alpn_protocol()?).ok()
}

async fn echoes<S>(socket: &mut WebSocketStream<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    for message in [Message::text("hello"), Message::binary(vec![7; 1 << 20])] {
        socket.send(message.clone()).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap() == message);
    }
}

#[tokio::test]
async fn pages_and_sockets_are_served_inside_tls_and_beside_it() {
    let identity = Identity::new();
    let gateway = identity.gateway(&[]).await;
    echoes(&mut identity.websocket(&gateway).await).await;
    echoes(&mut gateway.open("/ws/echo").await.unwrap()).await;

    let mut stream = identity.connect(secured(&gateway), &[]).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut page = String::new();
    // To the end as TLS has it: a connection that is cut off would be an error.
    stream.read_to_string(&mut page).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
}

#[tokio::test]
async fn the_protocol_is_agreed_on_by_alpn() {
    let identity = Identity::new();
    let gateway = identity.gateway(&[]).await;
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let stream = identity.connect(secured(&gateway), offered).await.unwrap();
        assert_eq!(protocol(&stream), agreed, "{offered:?}");
    }
    assert!(
        identity
            .connect(secured(&gateway), &["spdy/1"])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn sockets_go_over_http2_by_extended_connect_rfc8441_4() {
    use bytes::Bytes;
    use http_body_util::Empty;
    use hyper::client::conn::http2;
    use hyper::ext::Protocol;
    use hyper::{Method, Request, StatusCode};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::task::JoinSet;
    use tokio_tungstenite::tungstenite::protocol::Role;

    let identity = Identity::new();
    let gateway = identity.gateway(&[]).await;
    let stream = identity.connect(secured(&gateway), &["h2"]).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri("https://localhost/ws/echo")
            .header("sec-websocket-version", "13")
            .extension(Protocol::from_static("websocket"))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let upgraded = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        sockets.push(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await);
    }
    for socket in &mut sockets {
        echoes(socket).await;
    }

    gateway.stop.send(()).await.unwrap();
    for socket in &mut sockets {
        match socket.next().await {
            Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Away),
            other => panic!("{other:?}"),
        }
        while socket.next().await.is_some() {}
    }
    assert_eq!(gateway.ended.await.unwrap().unwrap(), Stopped::InOrder);
}

/// The head of the handshake that an upstream gets, in lower case.
async fn handshake_seen_by(upstream: TcpListener) -> String {
    let (mut stream, _) = upstream.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

#[tokio::test]
async fn upstreams_are_told_that_the_client_came_by_https() {
    let identity = Identity::new();
    for (is_secured, told) in [(true, "https"), (false, "http")] {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("--upstream=ws://{}", upstream.local_addr().unwrap());
        let gateway = identity.gateway(&["--balance=first", &url]).await;
        let client = async {
            // The upstream never answers.
            let _ = match is_secured {
                true => {
                    let alpn = &["http/1.1"];
                    let stream = identity.connect(secured(&gateway), alpn).await.unwrap();
                    client_async("wss://localhost/ws/a", stream).await.map(drop)
                }
                false => gateway.open("/ws/a").await.map(drop),
            };
        };
        let head = tokio::select! {
            head = handshake_seen_by(upstream) => head,
            () = client => panic!("the client was answered"),
        };
        assert!(
            head.contains(&format!("\r\nx-forwarded-proto: {told}\r\n")),
            "{head}"
        );
        assert!(
            head.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn stopping_closes_what_came_by_either_listener() {
    let identity = Identity::new();
    let gateway = identity.gateway(&["--drain-spread=0s"]).await;
    let mut inside = identity.websocket(&gateway).await;
    let mut beside = gateway.open("/ws/echo").await.unwrap();
    gateway.stop.send(()).await.unwrap();
    for message in [inside.next().await, beside.next().await] {
        match message {
            Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Away),
            other => panic!("{other:?}"),
        }
    }
    while let Some(message) = inside.next().await {
        message.unwrap();
    }
    while beside.next().await.is_some() {}
    assert_eq!(gateway.ended.await.unwrap().unwrap(), Stopped::InOrder);
    for addr in [gateway.addr, gateway.secured.unwrap()] {
        assert!(TcpStream::connect(addr).await.is_err());
    }
}

#[tokio::test]
async fn the_certificate_is_read_again_and_a_bad_one_changes_nothing() {
    let mut identity = Identity::new();
    let gateway = identity.gateway(&[]).await;
    let edge = gateway.edge.as_ref().unwrap();
    let mut before = identity.websocket(&gateway).await;

    identity.renew();
    assert!(identity.connect(secured(&gateway), &[]).await.is_err());
    edge.reload().unwrap();
    echoes(&mut identity.websocket(&gateway).await).await;

    fs::write(&identity.chain, "").unwrap();
    assert!(edge.reload().unwrap_err().contains("no certificate"));
    echoes(&mut identity.websocket(&gateway).await).await;
    echoes(&mut before).await;
}

#[tokio::test]
async fn handshakes_wait_when_too_many_are_under_way() {
    let identity = Identity::new();
    let gateway = identity.gateway(&["--threads=1"]).await;
    let edge = gateway.edge.as_ref().unwrap();
    // One has been taken by the listener, which is for the client that comes first.
    let all = u32::try_from(MAX_HANDSHAKES - 1).unwrap();
    let taken = edge.handshakes.acquire_many(all).await.unwrap();
    let _first = TcpStream::connect(secured(&gateway)).await.unwrap();
    let connecting = identity.connect(secured(&gateway), &[]);
    tokio::pin!(connecting);
    // Much goes on beside it in the meantime.
    for _ in 0..20 {
        tokio::select! {
            biased;
            _ = &mut connecting => panic!("one handshake too many"),
            page = gateway.ask("/") => assert!(page.starts_with("HTTP/1.1 200 ")),
        }
    }
    drop(taken);
    connecting.await.unwrap();
}

/// More than the gateway waits for anything.
const LONG: Duration = Duration::from_secs(60);

/// The clock runs ahead when there is nothing else to do.
#[tokio::test(start_paused = true)]
async fn who_says_nothing_or_too_little_is_let_go() {
    let identity = Identity::new();
    let gateway = identity.gateway(&["--threads=1"]).await;
    let (plain, secured) = (gateway.addr, secured(&gateway));
    for (addr, said) in [
        (plain, &b""[..]),
        (plain, b"PRI * HT"),
        (plain, b"GET / HTTP/1.1\r\nhost:"),
        (plain, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (secured, b""),
        (secured, b"\x16\x03\x01\x02"),
    ] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        // The end may come as a reset.
        let ended = timeout(LONG, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{addr} waits for more than {said:?}");
    }
    let mut quiet = identity.connect(secured, &["http/1.1"]).await.unwrap();
    let ended = timeout(LONG, quiet.read(&mut [0])).await.unwrap();
    assert_eq!(ended.unwrap_or(0), 0);
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    let (one, other) = (Identity::new(), Identity::new());
    let (manifest, missing) = (Path::new("Cargo.toml"), Path::new("no/such/file"));
    let broken = std::env::temp_dir().join(format!("gateway-broken-{}", std::process::id()));
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(&broken, text).unwrap();
    for (chain, key, option, sentence) in [
        (
            missing,
            &*one.key,
            "--tls-cert no/such/file",
            "cannot be read",
        ),
        (
            manifest,
            &one.key,
            "--tls-cert Cargo.toml",
            "no certificate in it",
        ),
        (&one.key, &one.key, "--tls-cert ", "no certificate in it"),
        (&broken, &one.key, "--tls-cert ", "cannot be used"),
        (
            &one.chain,
            missing,
            "--tls-key no/such/file",
            "cannot be read",
        ),
        (
            &one.chain,
            manifest,
            "--tls-key Cargo.toml",
            "no private key in it",
        ),
        (&one.chain, &one.chain, "--tls-key ", "no private key in it"),
        (
            &one.chain,
            &other.key,
            "--tls-key ",
            "not that of the certificate",
        ),
    ] {
        let error = Edge::load(chain, key).unwrap_err();
        assert!(error.starts_with(option), "{error}");
        assert!(error.contains(sentence), "{error}");
    }
    fs::remove_file(broken).unwrap();
    assert!(Edge::load(&one.chain, &one.key).is_ok());
}
