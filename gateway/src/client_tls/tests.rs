use super::*;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt, future::join_all, poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::serve::Exit;
use crate::tests::{TestGateway, own_loopback};

/// Certificate for `localhost` and its key, in temporary files.
struct Identity {
    chain: PathBuf,
    key: PathBuf,
    certificate: CertificateDer<'static>,
}

impl Identity {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gateway-client-tls-{}-{number}", std::process::id());
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

    /// Replaces the certificate and the key in the files by new ones.
    fn renew(&mut self) {
        let generated = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(&self.chain, generated.cert.pem()).unwrap();
        fs::write(&self.key, generated.signing_key.serialize_pem()).unwrap();
        self.certificate = generated.cert.der().clone();
    }

    async fn gateway(&self, more: &[&str]) -> TestGateway {
        let own = [
            format!("--tls-listen={}:0", own_loopback()),
            format!("--tls-cert={}", self.chain.display()),
            format!("--tls-key={}", self.key.display()),
        ];
        let mut args: Vec<&str> = own.iter().map(String::as_str).collect();
        args.extend(more);
        TestGateway::start(&args).await
    }

    /// Opens a TLS connection as a client that trusts the certificate as it is now.
    async fn connect(
        &self,
        addr: SocketAddr,
        alpn: &[&str],
    ) -> io::Result<ClientStream<TcpStream>> {
        let mut config = self.client_config();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let tcp = TcpStream::connect(addr).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
    }

    fn client_config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// The first bytes of a client: its ClientHello.
    fn hello(&self) -> Vec<u8> {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(self.client_config()), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        hello
    }

    async fn websocket(&self, gateway: &TestGateway) -> WebSocketStream<ClientStream<TcpStream>> {
        let stream = self.connect(https(gateway), &["http/1.1"]).await.unwrap();
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

fn https(gateway: &TestGateway) -> SocketAddr {
    gateway.https.unwrap()
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

    let mut stream = identity.connect(https(&gateway), &[]).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut page = String::new();
    // A connection that ends without a TLS close_notify would be an error.
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
        let stream = identity.connect(https(&gateway), offered).await.unwrap();
        assert_eq!(protocol(&stream), agreed, "{offered:?}");
    }
    assert!(
        identity
            .connect(https(&gateway), &["spdy/1"])
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
    let stream = identity.connect(https(&gateway), &["h2"]).await.unwrap();
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
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
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
    assert_eq!(gateway.exit.await.unwrap().unwrap(), Exit::Drained);
}

/// Returns the head of the handshake that an upstream gets, in lower case.
async fn received_handshake(upstream: TcpListener) -> String {
    let (mut stream, _) = upstream.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

#[tokio::test]
async fn upstreams_learn_whether_the_client_came_by_https() {
    let identity = Identity::new();
    for (is_https, proto) in [(true, "https"), (false, "http")] {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("--upstream=ws://{}", upstream.local_addr().unwrap());
        let gateway = identity.gateway(&["--balance=first", &url]).await;
        let client = async {
            // The upstream never responds.
            let _ = match is_https {
                true => {
                    let alpn = &["http/1.1"];
                    let stream = identity.connect(https(&gateway), alpn).await.unwrap();
                    client_async("wss://localhost/ws/a", stream).await.map(drop)
                }
                false => gateway.open("/ws/a").await.map(drop),
            };
        };
        let head = tokio::select! {
            head = received_handshake(upstream) => head,
            () = client => panic!("the client got a response"),
        };
        assert!(
            head.contains(&format!("\r\nx-forwarded-proto: {proto}\r\n")),
            "{head}"
        );
        assert!(
            head.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn a_stop_closes_the_websockets_of_both_listeners() {
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
    assert_eq!(gateway.exit.await.unwrap().unwrap(), Exit::Drained);
    for addr in [gateway.http, gateway.https.unwrap()] {
        assert!(TcpStream::connect(addr).await.is_err());
    }
}

#[tokio::test]
async fn the_certificate_is_reloaded_and_a_bad_one_changes_nothing() {
    let mut identity = Identity::new();
    let gateway = identity.gateway(&[]).await;
    let tls = gateway.client_tls.as_ref().unwrap();
    let mut before = identity.websocket(&gateway).await;

    identity.renew();
    assert!(identity.connect(https(&gateway), &[]).await.is_err());
    tls.reload().unwrap();
    echoes(&mut identity.websocket(&gateway).await).await;

    fs::write(&identity.chain, "").unwrap();
    assert!(tls.reload().unwrap_err().contains("no certificate"));
    echoes(&mut identity.websocket(&gateway).await).await;
    echoes(&mut before).await;
}

/// Opens connections of which each says this and then nothing, and waits for the response to what it said.
async fn stalled(count: usize, addr: SocketAddr, said: &[u8]) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = TcpStream::connect(addr).await.unwrap();
        client.write_all(said).await.unwrap();
        if !said.is_empty() {
            timeout(SOON, client.read_u8()).await.unwrap().unwrap();
        }
        clients.push(client);
    }
    clients
}

/// Shorter than any wait of the gateway for a client.
const SOON: Duration = Duration::from_secs(4);

#[tokio::test]
async fn silent_clients_do_not_shut_the_listener_to_others() {
    let identity = Identity::new();
    let gateway = identity.gateway(&["--threads=1"]).await;
    // Both ends are in this process.
    rlimit::increase_nofile_limit(10_000).unwrap();
    let _silent = stalled(1024, https(&gateway), b"").await;
    let connecting = identity.connect(https(&gateway), &[]);
    timeout(SOON, connecting).await.unwrap().unwrap();
}

#[tokio::test]
async fn clients_that_stop_after_their_hello_do_not_shut_the_listener_to_others() {
    let identity = Identity::new();
    let gateway = identity.gateway(&["--threads=1"]).await;
    let count = 4 * Turns::AT_ONCE;
    let _stalled = stalled(count, https(&gateway), &identity.hello()).await;
    let connecting = identity.connect(https(&gateway), &[]);
    timeout(SOON, connecting).await.unwrap().unwrap();
}

#[tokio::test]
async fn handshakes_wait_for_their_turns() {
    let identity = Identity::new();
    let tls = ClientTls::load(&identity.chain, &identity.key).unwrap();
    let (mut client, server) = tokio::io::duplex(1 << 14);
    let turns = Turns::new();
    let mut computing: Vec<_> = (0..Turns::AT_ONCE)
        .map(|_| Box::pin(turns.take(async {})))
        .collect();
    for turn in &mut computing {
        assert!(poll!(turn).is_pending());
    }
    client.write_all(&identity.hello()).await.unwrap();
    let mut accepting = pin!(tls.accept(server, &turns));
    for _ in 0..4 {
        assert!(poll!(&mut accepting).is_pending());
        assert!(
            poll!(pin!(client.read_u8())).is_pending(),
            "one handshake too many"
        );
    }
    drop(computing);
    assert!(poll!(&mut accepting).is_pending());
    client.read_u8().await.unwrap();
}

#[tokio::test]
async fn clients_that_are_silent_before_their_request_do_not_delay_a_drain() {
    let identity = Identity::new();
    let hello = identity.hello();
    for (args, said) in [
        (&[][..], &b""[..]),
        (&[], &hello),
        (&["--accept-proxy-protocol=127.0.0.0/8"], b""),
    ] {
        let gateway = identity.gateway(args).await;
        let _silent = stalled(3, https(&gateway), said).await;
        let _silent = stalled(3, gateway.http, b"").await;
        gateway.stop.send(()).await.unwrap();
        let exit = timeout(SOON, gateway.exit).await;
        let exit = exit.unwrap_or_else(|_| panic!("{args:?}: the drain waits for {said:?}"));
        assert_eq!(exit.unwrap().unwrap(), Exit::Drained);
    }
}

/// Longer than any wait of the gateway.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn clients_that_send_nothing_or_too_little_are_closed() {
    let identity = Identity::new();
    let gateway = identity
        .gateway(&["--threads=1", "--header-timeout=1s"])
        .await;
    let (http, https) = (gateway.http, https(&gateway));
    let silent = [
        (http, &b""[..]),
        (http, b"PRI * HT"),
        (http, b"GET / HTTP/1.1\r\nhost:"),
        (http, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (https, b""),
        (https, b"\x16\x03\x01\x02"),
    ];
    let ends = silent.map(|(addr, sent)| async move {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut response = Vec::new();
        // The end may come as a reset.
        let ended = timeout(LONG, stream.read_to_end(&mut response)).await;
        assert!(ended.is_ok(), "{addr} waits for more than {sent:?}");
    });
    let mut quiet = identity.connect(https, &["http/1.1"]).await.unwrap();
    join_all(ends).await;
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
        let error = ClientTls::load(chain, key).unwrap_err();
        assert!(error.starts_with(option), "{error}");
        assert!(error.contains(sentence), "{error}");
    }
    fs::remove_file(broken).unwrap();
    assert!(ClientTls::load(&one.chain, &one.key).is_ok());
}
