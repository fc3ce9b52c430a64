//! What a quiet tunnel costs: heap and descriptors, counted.
//!
//! A binary of its own, because its allocator counts every allocation of the process. The tests
//! take turns for the same reason.
//!
//! Both far ends are blocking sockets of the standard library, which own no heap, so that what is
//! counted is the proxy's: its tasks, its tunnels, the runtime's registration of its two sockets,
//! its lines in the registry. What the ends themselves cost is measured by the same exchange
//! without a proxy, and subtracted; it comes to a few bytes at most.
// Clippy's "allow in tests" covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    alloc::System,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use axum::Router;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::sync::oneshot;
use tungstenite::handshake::derive_accept_key;
use wsplice::{
    KeepAlive, Observer, Pool, ProxyLayer, Registry, TunnelInfo, TunnelReport, matcher::path,
};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Tunnels that are opened and not counted: they pay for what is allocated once.
const WARM_UP: usize = 50;

/// Tunnels that are counted.
const TUNNELS: usize = 200;

/// The tests take turns.
static TURN: Mutex<()> = Mutex::new(());

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A masked text frame "hi", and an unmasked one.
const UP: [u8; 8] = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
const DOWN: [u8; 4] = [0x81, 0x02, b'h', b'i'];

#[test]
fn a_quiet_tunnel_with_the_default_settings_owns_at_most_1536_bytes() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let per_tunnel = heap_per_tunnel("default settings", |layer| layer);
    assert!(per_tunnel <= 1536, "{per_tunnel} bytes");
}

#[test]
fn a_quiet_tunnel_with_keep_alive_and_observer_owns_at_most_2048_bytes() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let per_tunnel = heap_per_tunnel("keep-alive and observer", |layer| {
        layer
            .keep_alive(KeepAlive::default())
            .observer(Counter::default())
    });
    assert!(per_tunnel <= 2048, "{per_tunnel} bytes");
}

#[test]
fn descriptors_and_heap_go_back_to_where_they_were() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let upstream = Upstream::start();
    let proxy = Host::start(upstream.addr, |layer| layer);
    drop(open(WARM_UP, proxy.addr, &upstream));
    proxy.wait_until_empty();

    let (descriptors, region) = (open_descriptors(), Region::new(HEAP));
    for _ in 0..3 {
        let tunnels = open(TUNNELS, proxy.addr, &upstream);
        assert_eq!(proxy.registry.count(), TUNNELS as u64);
        assert!(
            open_descriptors().is_none_or(|now| Some(now) >= descriptors.map(|d| d + 4 * TUNNELS))
        );
        drop(tunnels);
        proxy.wait_until_empty();
    }
    assert_eq!(open_descriptors(), descriptors);
    let kept = net(&region);
    println!("kept after 3 x {TUNNELS} tunnels: {kept} bytes");
    // The registry's table keeps the room that it grew to: some 40 bytes a tunnel. The task of a
    // connection that has just ended may still hold its buffers: two are allowed for.
    let allowed = 64 * TUNNELS as isize + 2 * 16 * 1024;
    assert!(kept < allowed, "{kept} bytes");
}

/// The heap that the proxy adds for each quiet tunnel, in bytes.
fn heap_per_tunnel(what: &str, settings: fn(ProxyLayer) -> ProxyLayer) -> isize {
    let upstream = Upstream::start();
    let direct = heap_per_connection(upstream.addr, &upstream);
    let proxy = Host::start(upstream.addr, settings);
    let proxied = heap_per_connection(proxy.addr, &upstream);
    println!("{what}: {proxied} bytes per tunnel, {direct} without a proxy");
    proxied - direct
}

fn heap_per_connection(addr: SocketAddr, upstream: &Upstream) -> isize {
    let warm_up = open(WARM_UP, addr, upstream);
    let region = Region::new(HEAP);
    let counted = open(TUNNELS, addr, upstream);
    let bytes = net(&region) - list_of_ends(&counted);
    drop((warm_up, counted));
    bytes / TUNNELS as isize
}

/// Bytes allocated since and not given back.
fn net(region: &Region<'_, System>) -> isize {
    let change = region.change();
    change.bytes_allocated as isize - change.bytes_deallocated as isize
}

/// The test's own list of its sockets.
fn list_of_ends(ends: &Vec<Ends>) -> isize {
    (ends.capacity() * size_of::<Ends>()) as isize
}

/// Both far ends of a connection.
#[derive(Debug)]
struct Ends {
    _client: TcpStream,
    _upstream: TcpStream,
}

/// Opens connections one by one. A frame goes through each in both directions, so that all that
/// belongs to the handshake is over, and what belongs to the first bytes too.
fn open(count: usize, addr: SocketAddr, upstream: &Upstream) -> Vec<Ends> {
    let mut ends = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = connect(addr);
        let mut upstream = upstream.accepted.recv_timeout(DEADLINE).unwrap();
        client.write_all(&UP).unwrap();
        assert_eq!(read(&mut upstream), UP);
        upstream.write_all(&DOWN).unwrap();
        assert_eq!(read(&mut client), DOWN);
        ends.push(Ends {
            _client: client,
            _upstream: upstream,
        });
    }
    ends
}

/// How long anything may take before the test fails; never what is under test.
const DEADLINE: Duration = Duration::from_secs(10);

fn connect(addr: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.set_nodelay(true).unwrap();
    let request = format!(
        "GET /ws/room HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    client.write_all(request.as_bytes()).unwrap();
    let answer = read_head(&mut client);
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    client
}

fn read<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads a head byte by byte, so that nothing behind it is taken.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend_from_slice(&read::<1>(stream));
    }
    String::from_utf8(head).unwrap()
}

/// An upstream that accepts every handshake and gives its connections to the test.
#[derive(Debug)]
struct Upstream {
    addr: SocketAddr,
    accepted: mpsc::Receiver<TcpStream>,
}

impl Upstream {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        // Bounded: a queue of one is allocated once.
        let (give, accepted) = mpsc::sync_channel(1);
        // The thread ends with the process, or when nobody takes its connections any more.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                stream.set_nodelay(true).unwrap();
                read_head(&mut stream);
                let accept = derive_accept_key(KEY.as_bytes());
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).unwrap();
                if give.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { addr, accepted }
    }
}

/// An axum server with the proxy, in a thread of its own with a runtime of its own.
struct Host {
    addr: SocketAddr,
    registry: Registry,
    thread: Option<thread::JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Host {
    fn start(upstream: SocketAddr, settings: fn(ProxyLayer) -> ProxyLayer) -> Self {
        let pool = Pool::new([format!("ws://{upstream}")]).unwrap();
        let layer = settings(ProxyLayer::new(pool).matching(path("/ws/*")));
        let registry = layer.registry();
        let app = Router::new().fallback(|| async { "nothing" }).layer(layer);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || serve(listener, app, stopped));
        Self {
            addr,
            registry,
            thread: Some(thread),
            stop: Some(stop),
        }
    }

    /// Waits until no tunnel is open. A tunnel leaves the registry after its sockets are closed.
    fn wait_until_empty(&self) {
        let began = std::time::Instant::now();
        while self.registry.count() > 0 {
            assert!(began.elapsed() < DEADLINE, "{:?}", self.registry);
            thread::yield_now();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

/// One thread, so that what is counted does not hang on which thread did it.
fn serve(listener: TcpListener, app: Router, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::select! {
            served = axum::serve(listener, app) => served.unwrap(),
            _ = stopped => {}
        }
    });
}

/// The descriptors that the process has open, where the system tells.
fn open_descriptors() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}

/// An observer that does as little as one can.
#[derive(Debug, Default)]
struct Counter {
    tunnels: AtomicUsize,
}

impl Observer for Counter {
    fn tunnel_opened(&self, _tunnel: &TunnelInfo) {
        self.tunnels.fetch_add(1, Ordering::Relaxed);
    }

    fn tunnel_closed(&self, _tunnel: &TunnelInfo, _report: &TunnelReport) {
        self.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}
