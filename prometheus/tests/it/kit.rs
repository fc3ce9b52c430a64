//! A proxy under observation in memory, its upstreams and clients, and the reading of a scrape.

use std::{
    future::pending,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use prometheus_client::registry::Registry;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{sleep, timeout},
};
use tungstenite::handshake::derive_accept_key;
use wsplice::{
    ForwardHttp, Pool, ProxyLayer,
    connect::{Address, Connect, ConnectFuture, Transport},
    proxy::{Proxy, UpgradeRequired},
};
use wsplice_prometheus::{Metrics, encode};

/// Longer than any wait of these tests, on the paused clock.
const NEVER: Duration = Duration::from_secs(600);

/// The opcodes with FIN.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Behavior of all upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// Accepts handshakes; the path says how the WebSocket goes on.
    Accept,
    RefuseConnections,
    /// Reads the request, and never responds.
    HangInHandshake,
    /// Responds with this status.
    Answer(u16),
}

/// The upstreams, as a connector.
#[derive(Clone, Debug)]
pub(crate) struct Upstreams(Arc<Mutex<Does>>);

/// A proxy in memory whose metrics are scraped.
pub(crate) struct World {
    pub(crate) upstreams: Upstreams,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Metrics,
    proxy: Proxy<UpgradeRequired, ForwardHttp>,
    pub(crate) layer: ProxyLayer<ForwardHttp>,
}

/// A client's connection after the response's head.
pub(crate) struct Client {
    pub(crate) status: u16,
    pub(crate) stream: DuplexStream,
}

impl World {
    /// A proxy before this pool, observed as the pool `chat`.
    pub(crate) fn new(
        pool: impl Into<Pool>,
        settings: impl FnOnce(ProxyLayer) -> ProxyLayer,
    ) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let upstreams = Upstreams(Arc::new(Mutex::new(Does::Accept)));
        let layer = settings(ProxyLayer::new(pool).connector(upstreams.clone()));
        let layer = metrics.observe_as("chat", layer.forward_http(ForwardHttp::new()));
        Self {
            upstreams,
            registry: Arc::new(registry),
            metrics,
            proxy: layer.clone().into_service(),
            layer,
        }
    }

    /// A proxy beside this one, with the same upstreams and metrics, observed under this name.
    pub(crate) fn beside<T>(&self, name: &str, layer: ProxyLayer<T>) -> Self {
        let layer = layer.connector(self.upstreams.clone());
        let layer = layer.forward_http(ForwardHttp::new());
        let layer = self.metrics.observe_as(name, layer);
        Self {
            upstreams: self.upstreams.clone(),
            registry: Arc::clone(&self.registry),
            metrics: self.metrics.clone(),
            proxy: layer.clone().into_service(),
            layer,
        }
    }

    /// Sends a handshake, and waits for the response's head.
    pub(crate) async fn open(&self, path: &str) -> Client {
        self.request(&format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\n{HANDSHAKE}\r\n"
        ))
        .await
    }

    /// Sends a plain request, and waits for the response's head.
    pub(crate) async fn get(&self, path: &str) -> Client {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await
    }

    pub(crate) async fn request(&self, head: &str) -> Client {
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).await.unwrap();
        let head = timeout(NEVER, read_head(&mut stream)).await;
        let head = head.expect("a response");
        let status = head[9..12].parse().expect("a status");
        Client { status, stream }
    }

    fn connect(&self) -> DuplexStream {
        let (stream, far) = duplex(64 * 1024);
        let service = TowerToHyperService::new(self.proxy.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(far), service);
            // The manner in which a client leaves is up to the test.
            let _ = connection.with_upgrades().await;
        });
        stream
    }

    /// Drops the proxy; the metrics stay.
    pub(crate) fn drop_proxy(self) -> Arc<Registry> {
        self.registry
    }

    /// Sum over the series of a scrape that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        sum(&scrape(&self.registry), name, labels)
    }

    /// Whether a series with these labels exists.
    pub(crate) fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        has(&scrape(&self.registry), name, labels)
    }

    /// Waits until the sum has this value.
    pub(crate) async fn until(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let reached = async {
            while (self.sum(name, labels) - value).abs() > f64::EPSILON {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(NEVER, reached).await.is_err() {
            let found = self.sum(name, labels);
            panic!("{name} {labels:?} is {found} instead of {value}");
        }
    }
}

/// Scrapes, and checks that each metric is in the list with its type.
pub(crate) fn scrape(registry: &Registry) -> String {
    let text = encode(registry, None).unwrap().body;
    for line in text.lines() {
        if let Some(metric) = line.strip_prefix("# TYPE ") {
            let (name, kind) = metric.split_once(' ').unwrap();
            let row = format!("\n| `{name}` | {kind}");
            let list = include_str!("../../metrics.md");
            assert!(list.contains(&row), "metrics.md has no row {row}");
        }
    }
    text
}

pub(crate) fn sum(scrape: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    series(scrape, name, labels).sum()
}

pub(crate) fn has(scrape: &str, name: &str, labels: &[(&str, &str)]) -> bool {
    series(scrape, name, labels).count() > 0
}

fn series<'a>(
    scrape: &'a str,
    name: &'a str,
    labels: &'a [(&str, &str)],
) -> impl Iterator<Item = f64> + 'a {
    scrape.lines().filter_map(move |line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, set) = series.split_once('{').unwrap_or((series, ""));
        let set = format!(",{}", set.trim_end_matches('}'));
        let has = |(name, value): &(&str, &str)| {
            format!("{set},").contains(&format!(",{name}=\"{value}\","))
        };
        (found == name && labels.iter().all(has)).then(|| value.parse().unwrap())
    })
}

impl Client {
    /// Sends a frame as clients do, with a mask of zeros.
    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.stream
            .write_all(&frame(opcode, 0x80, payload))
            .await
            .unwrap();
    }

    pub(crate) async fn close(&mut self, code: u16) {
        self.send(CLOSE, &code.to_be_bytes()).await;
    }

    /// Reads the next frame: its opcode and its payload. `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        timeout(NEVER, next(&mut self.stream))
            .await
            .expect("a frame")
    }

    /// Reads to the end of the connection.
    pub(crate) async fn finish(mut self) {
        while self.next().await.is_some() {}
    }

    /// Answers a ping.
    pub(crate) async fn answer_ping(&mut self) {
        let (opcode, payload) = self.next().await.expect("a ping");
        assert_eq!(opcode, PING);
        self.send(PONG, &payload).await;
    }
}

/// A frame of at most 125 bytes of payload, or of 126 to 65,535.
pub(crate) fn frame(opcode: u8, mask: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap();
    let mut frame = match u8::try_from(len) {
        Ok(len) if len < 126 => vec![opcode, mask | len],
        _ => {
            let [high, low] = len.to_be_bytes();
            vec![opcode, mask | 126, high, low]
        }
    };
    if mask != 0 {
        frame.extend([0; 4]);
    }
    frame.extend(payload);
    frame
}

/// Reads a frame and removes its mask.
async fn next(stream: &mut DuplexStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.ok()?;
    let len = match head[1] & 0x7F {
        126 => usize::from(stream.read_u16().await.ok()?),
        len => usize::from(len),
    };
    let mut mask = [0; 4];
    if head[1] & 0x80 != 0 {
        stream.read_exact(&mut mask).await.ok()?;
    }
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload).await.ok()?;
    for (index, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[index % 4];
    }
    Some((head[0], payload))
}

/// Reads up to the empty line; less where the stream ends before.
async fn read_head(stream: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).expect("text")
}

impl Upstreams {
    pub(crate) fn turn(&self, does: Does) {
        *self.0.lock().unwrap() = does;
    }

    async fn serve(does: Does, mut stream: DuplexStream) {
        let request = read_head(&mut stream).await;
        if request.is_empty() {
            return;
        }
        match does {
            Does::Answer(status) => {
                let response = format!("HTTP/1.1 {status} Odd\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.write_all(response.as_bytes()).await;
            }
            Does::HangInHandshake => pending().await,
            Does::Accept | Does::RefuseConnections => {
                let _ = stream.write_all(accepted(&request).as_bytes()).await;
                let path = request.split(' ').nth(1).unwrap_or_default();
                websocket(path, stream).await;
            }
        }
    }
}

/// The response that accepts a handshake.
fn accepted(request: &str) -> String {
    let lines = request.lines().filter_map(|line| line.split_once(": "));
    let mut keys = lines.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
    let (_, key) = keys.next().expect("a key");
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
}

/// The upstream's side of a WebSocket: an echo that answers pings and closes. `/vanish` ends with
/// the first data frame, and `/close` closes with 1011 then.
async fn websocket(path: &str, mut stream: DuplexStream) {
    while let Some((opcode, payload)) = next(&mut stream).await {
        let answer = match opcode {
            PING => frame(PONG, 0, &payload),
            PONG => continue,
            CLOSE => frame(CLOSE, 0, &payload),
            _ if path == "/vanish" => return,
            _ if path == "/close" => frame(CLOSE, 0, &1011_u16.to_be_bytes()),
            _ => frame(opcode, 0, &payload),
        };
        if stream.write_all(&answer).await.is_err() || opcode == CLOSE {
            return;
        }
    }
}

impl Connect for Upstreams {
    fn connect<'a>(&'a self, _address: &'a Address) -> ConnectFuture<'a> {
        Box::pin(async {
            let does = *self.0.lock().unwrap();
            if does == Does::RefuseConnections {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = duplex(64 * 1024);
            tokio::spawn(Self::serve(does, far));
            Ok(Transport::new(near))
        })
    }
}
