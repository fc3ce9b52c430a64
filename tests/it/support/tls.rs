//! Clients inside TLS: a listener for axum, and the raw end of a connection through it.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
};

use axum::{Router, serve::Listener};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector, client,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{PrivatePkcs8KeyDer, ServerName},
    },
    server,
};

use super::{
    deadline::within,
    head::Head,
    raw::{HOST, handshake_request},
    serve::{Server, start},
};

type Made = rcgen::CertifiedKey<rcgen::KeyPair>;

static MADE: LazyLock<Made> =
    LazyLock::new(|| rcgen::generate_simple_self_signed([HOST.to_owned()]).expect("a certificate"));

/// Serves `router` as an axum application inside TLS.
pub(crate) async fn serve_tls(router: Router) -> Server {
    start(|tcp| async move {
        let acceptor = TlsAcceptor::from(server_config());
        match axum::serve(Secured { tcp, acceptor }, router).await {
            Ok(()) => panic!("axum::serve ended"),
            Err(error) => panic!("axum::serve failed: {error}"),
        }
    })
    .await
}

struct Secured {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Secured {
    type Io = server::TlsStream<TcpStream>;
    type Addr = SocketAddr;

    /// One handshake is performed after the other.
    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (tcp, peer) = self.tcp.accept().await.expect("a connection");
        tcp.set_nodelay(true).expect("TCP_NODELAY");
        let accepting = within("a client's TLS handshake", self.acceptor.accept(tcp));
        (accepting.await.expect("a TLS handshake"), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// Both ends of TLS over a pipe: the server's and the client's.
pub(crate) async fn pair<S>(server: S, client: S) -> (server::TlsStream<S>, client::TlsStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let accepting = TlsAcceptor::from(server_config()).accept(server);
    let name = ServerName::try_from(HOST).expect("a name");
    let connecting = TlsConnector::from(client_config()).connect(name, client);
    let both = within("a TLS handshake", async {
        tokio::join!(accepting, connecting)
    });
    let (server, client) = both.await;
    (server.expect("a server"), client.expect("a client"))
}

/// Returns a client's configuration that accepts the certificate of [`server_config`], for [`HOST`].
pub(crate) fn client_config() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(MADE.cert.der().clone()).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("a TLS version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Returns a server's configuration with a certificate that was made for this process.
pub(crate) fn server_config() -> Arc<ServerConfig> {
    let key = PrivatePkcs8KeyDer::from(MADE.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("a TLS version")
        .with_no_client_auth()
        .with_single_cert(vec![MADE.cert.der().clone()], key.into());
    Arc::new(config.expect("a fitting key"))
}

/// A client's raw end inside TLS.
pub(crate) struct TlsClient(client::TlsStream<TcpStream>);

impl TlsClient {
    /// Connects, and performs the TLS handshake.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let tcp = TcpStream::connect(addr).await.expect("a connection");
        tcp.set_nodelay(true).expect("TCP_NODELAY");
        let name = ServerName::try_from(HOST).expect("a name");
        let connecting = TlsConnector::from(client_config()).connect(name, tcp);
        Self(within("the TLS handshake", connecting).await.expect("TLS"))
    }

    /// Connects and opens a tunnel.
    pub(crate) async fn open(addr: SocketAddr, path: &str) -> Self {
        let mut client = Self::connect(addr).await;
        client.send(&handshake_request(path, &[])).await;
        let head = client.read_head().await;
        assert_eq!(head.status(), 101, "{}", String::from_utf8_lossy(&head.raw));
        client
    }

    /// Sends all of `bytes`, in TLS records of their own.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let sending = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        within("bytes to be taken", sending).await.expect("sending");
    }

    /// Reads exactly `len` bytes.
    pub(crate) async fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let reading = within("more bytes", self.0.read_exact(&mut bytes));
        reading.await.expect("bytes");
        bytes
    }

    /// Reads a head, and no byte after it.
    pub(crate) async fn read_head(&mut self) -> Head {
        let mut bytes = Vec::new();
        loop {
            bytes.extend_from_slice(&self.read(1).await);
            if let Some(head) = Head::parse(&bytes) {
                return head;
            }
        }
    }

    /// Reads all that is still to come; the second value is the end: orderly (`close_notify`,
    /// RFC 8446 §6.1) or an error.
    pub(crate) async fn read_to_end(&mut self) -> (Vec<u8>, io::Result<()>) {
        let mut bytes = Vec::new();
        let end = within("the end", self.0.read_to_end(&mut bytes)).await;
        (bytes, end.map(drop))
    }

    /// Ends the sending direction in order (`close_notify`); reading goes on.
    pub(crate) async fn finish(&mut self) {
        within("the end to be taken", self.0.shutdown())
            .await
            .expect("an end");
    }

    /// The socket below, with whatever state TLS was in.
    pub(crate) fn into_tcp(self) -> TcpStream {
        self.0.into_inner().0
    }
}

impl AsyncRead for TlsClient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsClient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
