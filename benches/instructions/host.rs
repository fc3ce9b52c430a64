//! A host with the proxy in it, and both of its far ends, in one thread.

use std::{future::pending, io};

use http::{Request, Version};
use http_body_util::Empty;
use hyper::{
    body::Bytes,
    client, ext,
    server::conn::{http1, http2},
    service::service_fn,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
};
use tokio_rustls::client::TlsStream;
use tungstenite::handshake::derive_accept_key;
use wsplice::{
    ProxyLayer,
    connect::{Address, Connect, ConnectFuture, Transport},
    proxy::{Proxy, UpgradeRequired},
};

use crate::tls;

/// The client's handshake, with the headers that a browser sends.
const REQUEST: &[u8] = b"GET /ws/rooms/7?token=abc HTTP/1.1\r\n\
    Host: chat.example.com\r\n\
    Connection: keep-alive, Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0)\r\n\
    Upgrade: websocket\r\n\
    Origin: https://chat.example.com\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

/// Bytes on their way in one direction of a connection before the writer must wait.
const CAPACITY: usize = 16 * 1024;

/// A connector in memory, which sends the far end of each connection to the upstreams' channel.
#[derive(Debug)]
pub(crate) struct Network(pub(crate) mpsc::UnboundedSender<DuplexStream>);

impl Connect for Network {
    fn connect<'a>(&'a self, _address: &'a Address) -> ConnectFuture<'a> {
        Box::pin(async {
            let (near, far) = duplex(CAPACITY);
            let gone = |_| io::ErrorKind::ConnectionRefused;
            self.0.send(far).map_err(gone)?;
            Ok(Transport::new(near))
        })
    }
}

/// An HTTP server that proxies everything.
pub(crate) struct Host {
    service: Proxy<UpgradeRequired>,
    upstreams: mpsc::UnboundedReceiver<DuplexStream>,
}

/// The far ends of a tunnel.
pub(crate) struct Ends<C = DuplexStream> {
    pub(crate) client: C,
    pub(crate) upstream: DuplexStream,
}

impl Host {
    /// Creates a host of this layer, whose upstreams are in memory.
    pub(crate) fn new(layer: ProxyLayer) -> Self {
        let (accepted, upstreams) = mpsc::unbounded_channel();
        let layer = layer.connector(Network(accepted));
        Self {
            service: layer.into_service(),
            upstreams,
        }
    }

    /// Opens a tunnel: one handshake with the client, and one with the upstream.
    pub(crate) async fn open(&mut self) -> Ends {
        let (client, near) = duplex(CAPACITY);
        self.serve(near);
        self.open_on(client).await
    }

    /// Opens a tunnel whose client is inside TLS.
    pub(crate) async fn open_tls(&mut self) -> Ends<TlsStream<DuplexStream>> {
        let (client, near) = duplex(CAPACITY);
        let (client, near) = tls::handshake(client, near).await;
        self.serve(near);
        self.open_on(client).await
    }

    /// Opens a tunnel on an HTTP/2 connection of its own, by an extended `CONNECT` (RFC 8441).
    pub(crate) async fn open_http2(&mut self) -> Ends<TokioIo<Upgraded>> {
        let (client, near) = duplex(CAPACITY);
        let service = TowerToHyperService::new(self.service.clone());
        let connection = http2::Builder::new(TokioExecutor::new())
            .auto_date_header(false)
            .enable_connect_protocol()
            .serve_connection(TokioIo::new(near), service);
        tokio::spawn(async { connection.await.unwrap() });

        let client = client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client));
        let (mut sender, connection) = client.await.unwrap();
        tokio::spawn(connection);
        let response = tokio::spawn(async move {
            let response = sender.send_request(extended_connect()).await.unwrap();
            (response, sender)
        });
        let upstream = self.accept_upstream().await;
        let (response, _sender) = response.await.unwrap();
        let client = hyper::upgrade::on(response).await.unwrap();
        Ends {
            client: TokioIo::new(client),
            upstream,
        }
    }

    /// Serves a client's connection by HTTP/1.1.
    fn serve(&self, near: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let service = TowerToHyperService::new(self.service.clone());
        // hyper would write the date again with every second of the machine's clock.
        let connection = http1::Builder::new()
            .auto_date_header(false)
            .serve_connection(TokioIo::new(near), service);
        tokio::spawn(async { connection.with_upgrades().await.unwrap() });
    }

    async fn open_on<C: AsyncRead + AsyncWrite + Unpin>(&mut self, mut client: C) -> Ends<C> {
        client.write_all(REQUEST).await.unwrap();
        let upstream = self.accept_upstream().await;
        let response = read_head(&mut client).await;
        assert!(response.starts_with(b"HTTP/1.1 101 "));
        Ends { client, upstream }
    }

    /// The upstream's connection of a tunnel, after its handshake.
    async fn accept_upstream(&mut self) -> DuplexStream {
        let mut upstream = self.upstreams.recv().await.unwrap();
        let request = read_head(&mut upstream).await;
        upstream.write_all(&accept(&request)).await.unwrap();
        upstream
    }
}

fn extended_connect() -> Request<Empty<Bytes>> {
    Request::connect("https://chat.example.com/ws/rooms/7?token=abc")
        .version(Version::HTTP_2)
        .extension(ext::Protocol::from_static("websocket"))
        .header("origin", "https://chat.example.com")
        .header("sec-websocket-version", "13")
        .body(Empty::new())
        .unwrap()
}

/// The upstream's response.
fn accept(request: &[u8]) -> Vec<u8> {
    let name = b"sec-websocket-key: ";
    let is_key = |line: &&[u8]| {
        line.get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    let line = request.split(|byte| *byte == b'\n').find(is_key).unwrap();
    let key = derive_accept_key(line[name.len()..].trim_ascii());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {key}\r\n\r\n"
    )
    .into_bytes()
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    read_to(stream, b"\r\n\r\n").await
}

/// Reads until the bytes end with `end`.
pub(crate) async fn read_to(stream: &mut (impl AsyncRead + Unpin), end: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4096);
    while !bytes.ends_with(end) {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
    }
    bytes
}

/// A connection whose request could still be upgraded, as long as its client is kept.
pub(crate) async fn upgradable() -> (DuplexStream, OnUpgrade) {
    let (mut client, near) = duplex(1024);
    let (give, mut given) = mpsc::unbounded_channel();
    let keep = service_fn(move |request: Request<_>| {
        give.send(hyper::upgrade::on(request)).unwrap();
        pending::<Result<http::Response<Empty<Bytes>>, std::convert::Infallible>>()
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(near), keep);
    tokio::spawn(connection.with_upgrades());
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(request).await.unwrap();
    (client, given.recv().await.unwrap())
}

pub(crate) fn handshake_request(on_upgrade: OnUpgrade) -> Request<Empty<Bytes>> {
    Request::get("/ws/rooms/7")
        .header("host", "chat.example.com")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .extension(on_upgrade)
        .body(Empty::new())
        .unwrap()
}
