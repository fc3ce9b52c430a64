//! The allocations of one handshake, with an echo and the close, by stage.
//!
//! Hooks of the host and the far ends mark where a stage ends. Both far ends are blocking sockets of the
//! standard library that own no heap, and each waits for the proxy, so every allocation is the proxy's.

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use stats_alloc::Stats;
use wsplice::{
    Observer, ProxyLayer, TunnelInfo, TunnelReport,
    connect::{Address, Connect, ConnectFuture, Connector},
    head::RequestHead,
    observe::RequestInfo,
};

use crate::{
    HEAP, TUNNELS, WARM_UP,
    host::{Host, Server},
    turn,
    wire::{self, DOWN, UP},
};

/// The accept key of the client's key (RFC 6455 §1.3).
const ACCEPTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const REQUEST: &[u8] = b"GET /ws/room HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Close frames without a code, masked and unmasked.
const CLOSE_UP: [u8; 6] = [0x88, 0x80, 0, 0, 0, 0];
const CLOSE_DOWN: [u8; 2] = [0x88, 0];

/// Blocks that one handshake may take: one more than it takes. One is this test's, of its connector.
const MAX_BLOCKS: usize = 53;

/// A part of a handshake. Each ends where the next begins.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The connection is accepted, and its request read and matched.
    Arrival,
    Pick,
    Connect,
    /// The request is on its way to the upstream.
    Request,
    /// The upstream's 101 was read and verified.
    Response,
    /// The client has its 101, and the tunnel runs.
    Begin,
    Echo,
    /// The tunnel has ended, with its report.
    Close,
    /// The proxy has let go of the connections.
    Rest,
}

const STAGES: [Stage; 9] = [
    Stage::Arrival,
    Stage::Pick,
    Stage::Connect,
    Stage::Request,
    Stage::Response,
    Stage::Begin,
    Stage::Echo,
    Stage::Close,
    Stage::Rest,
];

/// What the stages of all handshakes since the last reset have allocated.
struct Account {
    last: Option<Stats>,
    stages: [Allocated; STAGES.len()],
}

#[derive(Clone, Copy, Default)]
struct Allocated {
    blocks: usize,
    reallocations: usize,
    bytes: usize,
}

static ACCOUNT: Mutex<Account> = Mutex::new(Account {
    last: None,
    stages: [Allocated {
        blocks: 0,
        reallocations: 0,
        bytes: 0,
    }; STAGES.len()],
});

impl Account {
    /// Books what was allocated since the last stage under the one that ends now.
    fn end(stage: Stage) {
        let mut account = ACCOUNT.lock().unwrap_or_else(PoisonError::into_inner);
        let now = HEAP.stats();
        if let Some(last) = account.last.replace(now) {
            let since = now - last;
            let total = &mut account.stages[stage as usize];
            total.blocks += since.allocations;
            total.reallocations += since.reallocations;
            total.bytes += since.bytes_allocated;
        }
    }

    /// Forgets all that was booked.
    fn reset() {
        let mut account = ACCOUNT.lock().unwrap_or_else(PoisonError::into_inner);
        account.stages = Default::default();
    }

    /// The rows of a table, and the blocks of all stages, for one of so many handshakes.
    fn table(handshakes: usize) -> (String, usize) {
        let stages = ACCOUNT.lock().unwrap().stages;
        let each = |sum: usize| sum as f64 / handshakes as f64;
        let mut text =
            String::from("| stage | blocks | reallocations | bytes |\n|---|---|---|---|\n");
        for (stage, it) in STAGES.iter().zip(stages) {
            let (blocks, grown, bytes) = (each(it.blocks), each(it.reallocations), each(it.bytes));
            writeln!(
                text,
                "| {stage:?} | {blocks:.1} | {grown:.1} | {bytes:.0} |"
            )
            .unwrap();
        }
        let blocks: usize = stages.iter().map(|it| it.blocks).sum();
        let bytes: usize = stages.iter().map(|it| it.bytes).sum();
        writeln!(text, "| all | {:.1} | | {:.0} |", each(blocks), each(bytes)).unwrap();
        (text, blocks.div_ceil(handshakes))
    }
}

/// The connector of a layer by default, which marks the ends of two stages.
struct Marks(Connector);

impl Connect for Marks {
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a> {
        Account::end(Stage::Pick);
        let connect = self.0.connect(address);
        Box::pin(async move {
            let connected = connect.await;
            Account::end(Stage::Connect);
            connected
        })
    }
}

/// Tunnels that have begun, and those that have ended.
static BEGUN: AtomicUsize = AtomicUsize::new(0);
static ENDED: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
struct Marker;

impl Observer for Marker {
    fn handshake_accepted(&self, _handshake: &RequestInfo<'_>) {
        Account::end(Stage::Response);
    }

    fn tunnel_opened(&self, _tunnel: &TunnelInfo) {
        Account::end(Stage::Begin);
        BEGUN.fetch_add(1, Ordering::AcqRel);
    }

    fn tunnel_closed(&self, _tunnel: &TunnelInfo, _report: &TunnelReport) {
        Account::end(Stage::Close);
        ENDED.fetch_add(1, Ordering::AcqRel);
    }
}

fn marked(layer: ProxyLayer) -> ProxyLayer {
    let matcher = |_: &RequestHead<'_>| {
        Account::end(Stage::Arrival);
        true
    };
    layer
        .matching(matcher)
        .connector(Marks(Connector::default()))
        .observer(Marker)
}

/// Accepts handshakes, echoes a message, and answers the close frame, one tunnel after the other.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(wire::DEADLINE)).unwrap();
            read_head(&mut stream);
            Account::end(Stage::Request);
            stream.write_all(ACCEPTED).unwrap();
            // Masked with zeros, so that the text is as it was.
            wire::read::<{ UP.len() }>(&mut stream);
            stream.write_all(&DOWN).unwrap();
            wire::read::<{ CLOSE_UP.len() }>(&mut stream);
            stream.write_all(&CLOSE_DOWN).unwrap();
        }
    });
    addr
}

/// Reads a head, and nothing behind it, into no heap.
fn read_head(stream: &mut impl Read) {
    let mut last = [0; 4];
    while &last != b"\r\n\r\n" {
        last.rotate_left(1);
        last[3..].copy_from_slice(&wire::read::<1>(stream));
    }
}

fn handshake(addr: SocketAddr, host: &Host) {
    let (begun, ended) = (BEGUN.load(Ordering::Acquire), ENDED.load(Ordering::Acquire));
    let mut client = wire::connect(addr);
    client.write_all(REQUEST).unwrap();
    read_head(&mut client);
    wait_past(&BEGUN, begun);
    client.write_all(&UP).unwrap();
    wire::read::<{ DOWN.len() }>(&mut client);
    Account::end(Stage::Echo);
    client.write_all(&CLOSE_UP).unwrap();
    wire::read::<{ CLOSE_DOWN.len() }>(&mut client);
    drop(client);
    wait_past(&ENDED, ended);
    host.wait_until_empty();
    Account::end(Stage::Rest);
}

fn wait_past(count: &AtomicUsize, before: usize) {
    let began = std::time::Instant::now();
    while count.load(Ordering::Acquire) == before {
        assert!(began.elapsed() < wire::DEADLINE, "no further tunnel");
        thread::yield_now();
    }
}

#[test]
fn a_handshake_takes_no_more_blocks_than_before() {
    let _turn = turn();
    let host = Host::start(Server::Axum, upstream(), marked);
    for _ in 0..WARM_UP {
        handshake(host.addr, &host);
    }
    Account::reset();
    for _ in 0..TUNNELS {
        handshake(host.addr, &host);
    }
    let (table, blocks) = Account::table(TUNNELS);
    println!("{table}");
    assert!(blocks <= MAX_BLOCKS, "{blocks} blocks\n{table}");
}
