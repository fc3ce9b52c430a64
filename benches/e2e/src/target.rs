//! The address of a subject, and the way in which clients reach it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{
    Request, StatusCode, Version,
    client::conn::http2::{self, SendRequest},
    ext::Protocol,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Mutex,
    time::sleep,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{HandshakeKind, pki_types::ServerName},
};

use crate::{
    error::Result,
    tls::{CertificateFiles, HOST, Sessions},
    wire,
};

/// The protocol below the WebSockets of a subject's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// HTTP/1.1 over TCP.
    Plain,
    /// HTTP/1.1 over TLS 1.3.
    Tls,
    /// HTTP/2 over TCP, with many tunnels on a connection (RFC 8441).
    Http2,
}

/// Tunnels on a connection of HTTP/2.
pub const TUNNELS_ON_A_CONNECTION: usize = 100;

/// Clients with sessions of TLS of their own.
pub const CLIENTS: usize = 16;

/// Time in which a server's settings arrive, which allow extended `CONNECT`.
const SETTINGS_ARRIVE: Duration = Duration::from_millis(50);

/// The address of a subject, and the way in which clients reach it.
#[derive(Clone)]
pub struct Target {
    pub addr: SocketAddr,
    way: Way,
    resumed: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Way {
    Plain,
    /// With sessions of their own, as different clients have: one for each source.
    Tls(Arc<[TlsConnector]>),
    Http2(Arc<Mutex<Vec<SendRequest<Empty<Bytes>>>>>),
}

/// A connection, or a stream of one.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub type Stream = Box<dyn Io>;

impl Target {
    pub fn plain(addr: SocketAddr) -> Self {
        Self::new(addr, Way::Plain)
    }

    pub fn new_of(
        face: Face,
        addr: SocketAddr,
        certificate: &CertificateFiles,
        sessions: Sessions,
    ) -> Result<Self> {
        Ok(Self::new(
            addr,
            match face {
                Face::Plain => Way::Plain,
                Face::Tls => {
                    let connectors = (0..CLIENTS).map(|_| certificate.connector(sessions));
                    Way::Tls(connectors.collect::<Result<_>>()?)
                }
                Face::Http2 => Way::Http2(Arc::default()),
            },
        ))
    }

    fn new(addr: SocketAddr, way: Way) -> Self {
        let resumed = Arc::default();
        Self { addr, way, resumed }
    }

    /// TLS sessions that were resumed so far.
    pub fn resumed(&self) -> u64 {
        self.resumed.load(Relaxed)
    }

    /// Connects from the source address of this number, below HTTP.
    pub async fn connect(&self, source: usize) -> io::Result<Stream> {
        let tcp = wire::connect(self.addr, source).await?;
        match &self.way {
            Way::Tls(connectors) => {
                let connector = connectors.get(source % CLIENTS);
                self.secure(connector.ok_or(io::ErrorKind::NotFound)?, tcp)
                    .await
            }
            Way::Plain | Way::Http2(_) => Ok(Box::new(tcp)),
        }
    }

    async fn secure(&self, connector: &TlsConnector, tcp: TcpStream) -> io::Result<Stream> {
        let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
        let stream = connector.connect(name, tcp).await?;
        if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.resumed.fetch_add(1, Relaxed);
        }
        Ok(Box::new(stream))
    }

    /// Opens the tunnel of this number.
    pub async fn open(&self, number: usize, path: &str) -> io::Result<Stream> {
        if let Way::Http2(connections) = &self.way {
            let sender = self.shared(connections, number / TUNNELS_ON_A_CONNECTION);
            return open_http2(sender.await?, path).await;
        }
        let mut stream = self.connect(number).await?;
        wire::shake_hands(&mut stream, path).await?;
        Ok(stream)
    }

    /// The HTTP/2 connection of this number.
    async fn shared(
        &self,
        connections: &Mutex<Vec<SendRequest<Empty<Bytes>>>>,
        number: usize,
    ) -> io::Result<SendRequest<Empty<Bytes>>> {
        let mut connections = connections.lock().await;
        while connections.len() <= number {
            let tcp = wire::connect(self.addr, connections.len()).await?;
            let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp));
            let (sender, connection) = handshake.await.map_err(io::Error::other)?;
            // It ends with the last of its tunnels.
            tokio::spawn(connection);
            sleep(SETTINGS_ARRIVE).await;
            connections.push(sender);
        }
        let connection = connections.get(number).cloned();
        connection.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

async fn open_http2(mut sender: SendRequest<Empty<Bytes>>, path: &str) -> io::Result<Stream> {
    let request = Request::connect(format!("http://{HOST}{path}"))
        .version(Version::HTTP_2)
        .extension(Protocol::from_static("websocket"))
        .header("user-agent", "wsplice-e2e")
        .header("origin", "http://localhost")
        .header("sec-websocket-version", "13")
        .body(Empty::new())
        .map_err(io::Error::other)?;
    sender.ready().await.map_err(io::Error::other)?;
    let response = sender.send_request(request).await;
    let response = response.map_err(io::Error::other)?;
    if response.status() != StatusCode::OK {
        let status = response.status().to_string();
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, status));
    }
    let upgraded = hyper::upgrade::on(response).await;
    Ok(Box::new(TokioIo::new(upgraded.map_err(io::Error::other)?)))
}
