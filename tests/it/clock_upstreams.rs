//! Upstreams in memory that fail in every way, behind a proxy in memory, on a paused clock.
//!
//! The runtime moves the clock only when every task waits, so that how long a client was kept is
//! known exactly.

use std::{
    collections::BTreeMap,
    future::pending,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinSet,
    time::{Instant, timeout},
};
use tungstenite::handshake::derive_accept_key;
use wsplice::{
    Pool, ProxyLayer,
    connect::{Address, Connect, ConnectFuture, Transport},
    pool::PoolBuilder,
    proxy::{Proxy, UpgradeRequired},
};

use super::support::raw::handshake_request;

/// Longer than any wait of these tests, on the paused clock.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// Behavior of an upstream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    /// Agrees to every handshake.
    Accept,
    RefuseConnections,
    HangInConnect,
    /// Reads the request, and never responds.
    HangInHandshake,
    /// Reads the request, and hangs up.
    HangUp,
    /// Responds with this status and its own name as the body.
    Answer(u16),
}

/// All upstreams, by name; a connector, for which every name is one of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct World(Arc<Mutex<BTreeMap<String, Site>>>);

#[derive(Debug)]
struct Site {
    does: Does,
    asked: usize,
    open: usize,
}

/// The response that a client got, and its time.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) after: Duration,
    /// The connection, which holds the tunnel, if there is one.
    pub(crate) stream: DuplexStream,
}

impl World {
    /// Upstreams that do this, named `a:80`, `b:80` and so on.
    pub(crate) fn of<const N: usize>(all: [Does; N]) -> Self {
        let site = |does| Site {
            does,
            asked: 0,
            open: 0,
        };
        let sites = ('a'..)
            .map(|letter| format!("{letter}:80"))
            .zip(all.map(site));
        Self(Arc::new(Mutex::new(sites.collect())))
    }

    /// A pool of all of them.
    pub(crate) fn pool(&self) -> PoolBuilder {
        let sites = self.0.lock().unwrap();
        Pool::new(sites.keys().map(|name| format!("ws://{name}"))).unwrap()
    }

    /// A proxy before a pool of these upstreams.
    pub(crate) fn proxy(
        &self,
        pool: &Pool,
        settings: impl FnOnce(ProxyLayer) -> ProxyLayer,
    ) -> Proxy<UpgradeRequired> {
        settings(ProxyLayer::new(pool.clone()).connector(self.clone())).into_service()
    }

    /// Makes an upstream do something else from now on.
    pub(crate) fn turn(&self, name: &str, does: Does) {
        self.0.lock().unwrap().get_mut(name).unwrap().does = does;
    }

    /// Number of connections to this upstream that were requested.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.0.lock().unwrap()[name].asked
    }

    /// Number of connections to all upstreams that were requested.
    pub(crate) fn asked_in_all(&self) -> usize {
        self.0.lock().unwrap().values().map(|site| site.asked).sum()
    }

    /// Connections to this upstream that are open.
    pub(crate) fn open(&self, name: &str) -> usize {
        self.0.lock().unwrap()[name].open
    }

    fn count(&self, name: &str, change: impl FnOnce(&mut Site)) -> Does {
        let mut sites = self.0.lock().unwrap();
        let site = sites.get_mut(name).expect("a known upstream");
        change(site);
        site.does
    }

    async fn serve(self, name: String, does: Does, mut stream: DuplexStream) {
        let answer = match does {
            Does::Accept => {
                let request = read_head(&mut stream).await;
                let key = value(&request, "sec-websocket-key").expect("a key");
                format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
                    derive_accept_key(key.as_bytes())
                )
            }
            Does::Answer(status) => {
                read_head(&mut stream).await;
                let len = name.len();
                format!("HTTP/1.1 {status} Odd\r\nContent-Length: {len}\r\n\r\n{name}")
            }
            Does::HangUp => {
                read_head(&mut stream).await;
                return;
            }
            _ => String::new(),
        };
        // The client may be gone by now.
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
}

impl Connect for World {
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a> {
        Box::pin(async move {
            let name = address.to_string();
            let does = self.count(&name, |site| site.asked += 1);
            match does {
                Does::RefuseConnections => return Err(io::ErrorKind::ConnectionRefused.into()),
                Does::HangInConnect => pending::<()>().await,
                _ => {}
            }
            let (near, far) = duplex(16 * 1024);
            let world = self.clone();
            world.count(&name, |site| site.open += 1);
            tokio::spawn(async move {
                world.clone().serve(name.clone(), does, far).await;
                world.count(&name, |site| site.open -= 1);
            });
            Ok(Transport::new(near))
        })
    }
}

/// Sends a handshake to the proxy, and waits for the response.
pub(crate) async fn shake_hands(proxy: Proxy<UpgradeRequired>) -> Got {
    shake_hands_for(proxy, "/ws", &[]).await
}

/// Sends a handshake for this path, with further headers, and waits for the response.
pub(crate) async fn shake_hands_for(
    proxy: Proxy<UpgradeRequired>,
    path: &str,
    extra: &[(&str, &str)],
) -> Got {
    let began = Instant::now();
    let (mut stream, far) = duplex(16 * 1024);
    tokio::spawn(async move {
        let connection = http1::Builder::new()
            .serve_connection(TokioIo::new(far), TowerToHyperService::new(proxy));
        // The manner in which a client leaves is up to the test.
        let _ = connection.with_upgrades().await;
    });
    let request = handshake_request(path, extra);
    stream.write_all(&request).await.expect("a duplex");
    let head = timeout(NEVER, read_head(&mut stream)).await;
    let head = head.expect("an answer");
    Got {
        status: head[9..12].parse().expect("a status"),
        head,
        after: began.elapsed(),
        stream,
    }
}

/// Sends the handshakes of this many clients at once.
pub(crate) async fn crowd(proxy: &Proxy<UpgradeRequired>, clients: usize) -> Vec<Got> {
    let mut shaking = JoinSet::new();
    for _ in 0..clients {
        shaking.spawn(shake_hands(proxy.clone()));
    }
    shaking.join_all().await
}

/// The value of a header.
pub(crate) fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut found = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value)
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
