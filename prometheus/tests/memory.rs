//! Heap of a quiet tunnel with metrics and a status page that are read, beside one without.
//!
//! A binary of its own, because its allocator counts every allocation of the process.
// Clippy's "allow in tests" covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{alloc::System, future::pending};

use hyper::{Request, server::conn::http1, service::Service as _};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use prometheus_client::registry::Registry;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    runtime::Builder,
};
use tungstenite::handshake::derive_accept_key;
use wsplice::{
    Pool, ProxyLayer,
    connect::{Address, Connect, ConnectFuture, Transport},
    proxy::{Proxy, UpgradeRequired},
};
use wsplice_prometheus::{Metrics, encode};
use wsplice_status::{Status, StatusService};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Tunnels that are opened and not counted: they pay for all that is allocated once.
const WARM_UP: usize = 300;

/// Tunnels that are counted.
const TUNNELS: usize = 500;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Connector of an upstream that accepts each handshake, and is silent afterwards.
#[derive(Debug)]
struct Accepts;

impl Connect for Accepts {
    fn connect<'a>(&'a self, _: &'a Address) -> ConnectFuture<'a> {
        let (near, far) = duplex(1024);
        tokio::spawn(accept(far));
        Box::pin(async { Ok(Transport::new(near)) })
    }
}

async fn accept(mut stream: DuplexStream) {
    let request = read_head(&mut stream).await;
    let key = request.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let is_key = name.eq_ignore_ascii_case("sec-websocket-key");
        is_key.then(|| value.to_owned())
    });
    let accept = derive_accept_key(key.unwrap().as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    pending::<()>().await;
}

async fn read_head(stream: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn open(proxy: &Proxy<UpgradeRequired>) -> DuplexStream {
    let (mut client, far) = duplex(1024);
    let service = TowerToHyperService::new(proxy.clone());
    let connection = http1::Builder::new().serve_connection(TokioIo::new(far), service);
    tokio::spawn(async move { connection.with_upgrades().await.unwrap() });
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client
}

/// Metrics and a status page of one layer.
struct Views {
    registry: Registry,
    status: TowerToHyperService<StatusService>,
}

impl Views {
    fn of(pool: &Pool, layer: ProxyLayer) -> (Self, ProxyLayer) {
        let mut registry = Registry::default();
        let status = Status::new().pool(pool).registry(&layer.registry());
        let layer = Metrics::register(&mut registry).observe_as("chat", layer);
        let layer = layer.observer(status.observer());
        let status = TowerToHyperService::new(status.into_service());
        (Self { registry, status }, layer)
    }

    /// Reads the metrics and the page.
    async fn read(&self) {
        let metrics = encode(&self.registry, None).unwrap().body;
        assert!(metrics.contains("wsplice_tunnels{"), "{metrics}");
        let request = Request::get("/").header("host", "127.0.0.1");
        let page = self.status.call(request.body(String::new()).unwrap()).await;
        assert_eq!(page.unwrap().status(), 200);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    Without,
    With,
}

/// Returns the bytes of heap for each quiet tunnel, both of its far ends included.
fn heap_per_tunnel(view: View) -> isize {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = Pool::new(["ws://upstream"]).unwrap().build();
        let layer = ProxyLayer::new(pool.clone()).connector(Accepts);
        let (views, layer) = match view {
            View::Without => (None, layer),
            View::With => {
                let (views, layer) = Views::of(&pool, layer);
                (Some(views), layer)
            }
        };
        let proxy = layer.into_service();
        let mut clients = Vec::with_capacity(WARM_UP + TUNNELS);
        for _ in 0..WARM_UP {
            clients.push(open(&proxy).await);
        }
        read(views.as_ref()).await;
        let region = Region::new(HEAP);
        for _ in 0..TUNNELS {
            clients.push(open(&proxy).await);
        }
        read(views.as_ref()).await;
        let change = region.change();
        let bytes = change.bytes_allocated as isize - change.bytes_deallocated as isize;
        bytes / TUNNELS as isize
    })
}

async fn read(views: Option<&Views>) {
    if let Some(views) = views {
        views.read().await;
    }
}

#[test]
fn metrics_and_a_status_page_that_are_read_add_at_most_64_bytes_to_a_quiet_tunnel() {
    let without = heap_per_tunnel(View::Without);
    let with = heap_per_tunnel(View::With);
    println!("{with} bytes per tunnel with metrics and a status page, {without} without");
    assert!(without > 0);
    assert!(with - without <= 64, "{with} bytes, {without} without");
}
