//! Upstreams behind TLS: the certificates that are accepted, and the protocol that is spoken.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use http::StatusCode;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        HandshakeKind, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
        server::WebPkiClientVerifier,
    },
};
use wsplice::{
    Pool, ProxyLayer, Upstream,
    connect::{Address, ProxyProtocol, Tls, TlsBuilder},
};

use crate::support::{
    frames,
    head::Head,
    raw::RawClient,
    serve::serve_axum,
    upstream::{RawConn, RawUpstream, switching_protocols},
};

/// A certificate authority, and the certificates that it signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    pub(crate) fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(7));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            chain: vec![certificate.der().clone()],
            chain_pem: certificate.pem(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            key_pem: key.serialize_pem(),
        }
    }

    /// A list in which every certificate of ours is revoked: they all have the same number.
    fn revocations(&self) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(7),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2124, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    chain_pem: String,
    pub(crate) key: PrivateKeyDer<'static>,
    key_pem: String,
}

/// An upstream that prefers HTTP/2, and echoes over a WebSocket if HTTP/1.1 is agreed on.
struct TlsUpstream {
    url: String,
    /// Handshakes that went on from an earlier one.
    resumed: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl TlsUpstream {
    async fn start(identity: Identity) -> Self {
        Self::start_with(identity, None).await
    }

    async fn start_with(identity: Identity, clients: Option<&Authority>) -> Self {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                use tokio_rustls::rustls::pki_types::pem::PemObject;
                let mut roots = RootCertStore::empty();
                let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
                roots.add(root).unwrap();
                let provider = Arc::new(ring::default_provider());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder
            .with_single_cert(identity.chain, identity.key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("wss://localhost:{}", listener.local_addr().unwrap().port());
        let resumed = Arc::new(AtomicUsize::new(0));
        let resumptions = Arc::clone(&resumed);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(stream) = acceptor.accept(stream).await {
                    if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                        resumptions.fetch_add(1, Ordering::SeqCst);
                    }
                    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
                    echo(stream).await;
                }
            }
        });
        Self {
            url,
            resumed,
            _task: task,
        }
    }
}

async fn echo(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let answer = switching_protocols(&Head::parse(&head).unwrap(), &[]);
    stream.write_all(&answer).await.unwrap();
    let mut bytes = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        stream.write_all(&bytes[..read]).await.unwrap();
    }
}

/// An upstream that expects a line of the PROXY protocol in the clear before TLS begins.
async fn behind_a_line(identity: Identity) -> TlsUpstream {
    let inside = TlsUpstream::start(identity).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://localhost:{}", listener.local_addr().unwrap().port());
    let mut task = JoinSet::new();
    task.spawn(async move {
        let inside = inside;
        let port = inside.url.rsplit(':').next().unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.push(stream.read_u8().await.unwrap());
            }
            assert!(line.starts_with(b"PROXY "), "{line:?}");
            let mut tls = TcpStream::connect(format!("127.0.0.1:{port}"))
                .await
                .unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut tls).await;
        }
    });
    TlsUpstream {
        url,
        resumed: Arc::default(),
        _task: task,
    }
}

/// The response of a client: its status and the chain of the error.
async fn answer(upstream: &TlsUpstream, tls: Tls) -> (u16, String) {
    answer_of(Pool::new([&upstream.url]).unwrap(), tls).await
}

async fn answer_of(pool: impl Into<Pool>, tls: Tls) -> (u16, String) {
    let (sender, mut errors) = tokio::sync::mpsc::unbounded_channel();
    let proxy = ProxyLayer::new(pool)
        .tls(tls)
        .map_rejection(move |error, response| {
            let _ = sender.send(format!("{error:#}"));
            response
        });
    let server = serve_axum(Router::new().layer(proxy)).await;
    let mut client = RawClient::connect(server.addr()).await;
    let status = client.handshake("/ws", &[]).await.status();
    if status == StatusCode::SWITCHING_PROTOCOLS.as_u16() {
        let text = frames::masked(frames::text("secret"));
        assert_eq!(client.exchange(&text, text.len()).await, text);
    }
    (status, errors.try_recv().unwrap_or_default())
}

pub(crate) fn trusting(authority: &Authority) -> TlsBuilder {
    Tls::builder()
        .root_certificates(authority.pem.as_bytes())
        .unwrap()
}

#[tokio::test]
async fn a_right_certificate_is_believed_and_http1_is_agreed_on_with_a_server_that_prefers_h2() {
    let authority = Authority::new("ours");
    let upstream = TlsUpstream::start(authority.sign("localhost", |_| {})).await;
    let (status, _) = answer(&upstream, trusting(&authority).build().unwrap()).await;
    assert_eq!(status, 101);
}

#[tokio::test]
async fn each_wrong_certificate_is_refused_with_its_own_words() {
    let authority = Authority::new("ours");
    let expired = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    };
    let future = |params: &mut CertificateParams| params.not_before = date_time_ymd(2124, 1, 1);
    let plain = || trusting(&authority);
    let stranger = Authority::new("a stranger");
    for (identity, tls, words) in [
        (authority.sign("localhost", expired), plain(), "has expired"),
        (
            authority.sign("localhost", future),
            plain(),
            "is not valid yet",
        ),
        (
            authority.sign("elsewhere.test", |_| {}),
            plain(),
            "is for another name",
        ),
        (
            stranger.sign("localhost", |_| {}),
            plain(),
            "has an unknown issuer",
        ),
        (
            authority.sign("localhost", |_| {}),
            plain()
                .revocation_lists(authority.revocations().as_bytes())
                .unwrap(),
            "is revoked",
        ),
    ] {
        let upstream = TlsUpstream::start(identity).await;
        let (status, error) = answer(&upstream, tls.build().unwrap()).await;
        assert_eq!(status, 502, "{words}");
        assert!(error.contains(words), "expected {words:?}: {error}");
    }
}

#[tokio::test]
async fn the_name_can_be_another_than_the_address_says() {
    let authority = Authority::new("ours");
    let upstream = TlsUpstream::start(authority.sign("chat.internal", |_| {})).await;
    let tls = trusting(&authority)
        .server_name("chat.internal")
        .unwrap()
        .build()
        .unwrap();
    assert_eq!(answer(&upstream, tls).await.0, 101);
}

#[tokio::test]
async fn an_address_found_under_a_name_is_checked_for_the_name() {
    let authority = Authority::new("ours");
    let upstream = TlsUpstream::start(authority.sign("chat.internal", |_| {})).await;
    let port = upstream.url.rsplit_once(':').unwrap().1.parse().unwrap();
    for (name, status) in [("chat.internal", 101), ("other.internal", 502)] {
        let found = Upstream::from_address(Address::tls_with_server_name(name, "127.0.0.1", port));
        let tls = trusting(&authority).build().unwrap();
        assert_eq!(
            answer_of(Pool::from_upstreams([found]), tls).await.0,
            status,
            "{name}"
        );
    }
}

#[tokio::test]
async fn any_certificate_is_accepted_only_if_that_is_asked_for() {
    let upstream = TlsUpstream::start(Authority::new("x").sign("elsewhere.test", |_| {})).await;
    let tls = Tls::builder()
        .danger_accept_any_certificate()
        .build()
        .unwrap();
    assert_eq!(answer(&upstream, tls).await.0, 101);
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_whom_asks() {
    let authority = Authority::new("ours");
    let identity = authority.sign("localhost", |_| {});
    let upstream = TlsUpstream::start_with(identity, Some(&authority)).await;
    let ours = authority.sign("proxy.test", |_| {});
    let tls = trusting(&authority)
        .client_certificate(ours.chain_pem.as_bytes(), ours.key_pem.as_bytes())
        .unwrap();
    assert_eq!(answer(&upstream, tls.build().unwrap()).await.0, 101);
    let (status, error) = answer(&upstream, trusting(&authority).build().unwrap()).await;
    assert_eq!(status, 502, "without one it is refused");
    assert!(error.contains("CertificateRequired"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_shakes_hands_has_its_own_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://{}", silent.local_addr().unwrap());
    let tls = Tls::builder()
        .danger_accept_any_certificate()
        .build()
        .unwrap();
    let proxy = ProxyLayer::new(Pool::new([url]).unwrap())
        .tls(tls)
        .tls_timeout(Duration::from_millis(50));
    let server = serve_axum(Router::new().layer(proxy)).await;
    let mut client = RawClient::connect(server.addr()).await;
    let head = client.handshake("/ws", &[]).await;
    assert_eq!(head.status(), 504);
    let line = client.read_body(&head).await;
    assert_eq!(
        &line[..],
        b"the TLS handshake with the upstream timed out\n"
    );
}

#[tokio::test]
async fn the_proxy_protocol_goes_in_the_clear_before_tls() {
    let authority = Authority::new("ours");
    let identity = authority.sign("localhost", |_| {});
    let upstream = behind_a_line(identity).await;
    let announced = Upstream::new(&upstream.url)
        .unwrap()
        .send_proxy_protocol(ProxyProtocol::V1);
    let tls = trusting(&authority).build().unwrap();
    let (status, error) = answer_of(Pool::from_upstreams([announced]), tls).await;
    assert_eq!(status, 101, "{error}");
}

#[tokio::test]
async fn an_upstream_without_tls_is_found_out() {
    let plain = RawUpstream::start(|mut conn: RawConn| async move {
        conn.try_read_some().await?;
        conn.try_send(b"HTTP/1.1 400 Bad Request\r\n\r\n").await
    })
    .await;
    let pool = Pool::new([plain.url().replace("ws:", "wss:")]).unwrap();
    let (status, error) = answer_of(pool, trusting(&Authority::new("x")).build().unwrap()).await;
    assert_eq!(status, 502);
    assert!(error.contains("the upstream does not speak TLS"), "{error}");
}

#[tokio::test]
async fn a_certificate_can_be_for_an_address() {
    let authority = Authority::new("ours");
    let upstream = TlsUpstream::start(authority.sign("127.0.0.1", |_| {})).await;
    let pool = Pool::new([upstream.url.replace("localhost", "127.0.0.1")]).unwrap();
    let (status, error) = answer_of(pool, trusting(&authority).build().unwrap()).await;
    assert_eq!(status, 101, "{error}");
}

#[tokio::test]
async fn a_second_handshake_resumes_the_first() {
    let authority = Authority::new("ours");
    let upstream = TlsUpstream::start(authority.sign("localhost", |_| {})).await;
    let tls = trusting(&authority).build().unwrap();
    assert_eq!(answer(&upstream, tls.clone()).await.0, 101);
    assert_eq!(answer(&upstream, tls).await.0, 101);
    assert_eq!(upstream.resumed.load(Ordering::SeqCst), 1);
}

#[test]
fn settings_that_would_have_no_effect_are_refused() {
    let lists = Authority::new("ours").revocations();
    let unchecked = Tls::builder()
        .revocation_lists(lists.as_bytes())
        .unwrap()
        .danger_accept_any_certificate()
        .build();
    assert!(unchecked.is_err(), "a list, and nothing that looks into it");
    let unchecked = trusting(&Authority::new("ours"))
        .danger_accept_any_certificate()
        .build();
    assert!(unchecked.is_err(), "roots, and nothing that looks at them");
}

#[cfg(feature = "rustls-platform-verifier")]
#[test]
fn the_platforms_verifier_takes_no_lists() {
    let lists = Authority::new("ours").revocations();
    let builder = Tls::builder().revocation_lists(lists.as_bytes()).unwrap();
    let error = format!("{:#}", builder.build().unwrap_err());
    assert!(error.contains("revocation lists"), "{error}");
}
