//! Ways to an upstream: through a resolver, from several local addresses, by IPv6, in memory.

use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use wsplice::connect::Transport;
use wsplice::connect::{Address, Connect, ConnectFuture, Connector, Resolve};

use super::kit::{Host, Proxied, pool};
use crate::support::head::Head;
use crate::support::scripts;
use crate::support::upstream::{RawUpstream, closed_addr, switching_protocols};

/// The response to a handshake that goes to this host by this connector.
async fn outcome(url: String, connector: impl Connect + 'static) -> (u16, Vec<String>) {
    let proxied = Proxied::start(Host::Axum, pool([url]), |layer| {
        let layer = layer.connect_timeout(Duration::from_millis(500));
        layer.connector(connector)
    })
    .await;
    let (_client, head) = proxied.handshake("/ws/x", &[]).await;
    (head.status(), proxied.events())
}

fn resolving(resolver: impl Resolve + 'static) -> Connector {
    Connector::new().resolver(resolver)
}

const NAMED: &str = "ws://chat.test:8080";

fn failed(kind: &str) -> Vec<String> {
    vec![format!("failed /ws/x {kind} chat.test:8080")]
}

#[tokio::test]
async fn a_resolver_is_asked_for_names_with_their_port() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let addr = upstream.addr();
    let connector = resolving(move |host: &str, port| {
        assert_eq!((host, port), ("chat.test", 8080));
        async move { Ok(vec![addr]) }
    });
    assert_eq!(outcome(NAMED.to_owned(), connector).await.0, 101);
}

#[tokio::test]
async fn a_resolver_is_not_asked_for_addresses() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let connector = resolving(|host: &str, _| {
        let host = host.to_owned();
        async move { panic!("asked for {host}") }
    });
    assert_eq!(outcome(upstream.url(), connector).await.0, 101);
}

#[tokio::test]
async fn of_several_addresses_a_dead_first_one_gives_way() {
    let (dead, upstream) = (
        closed_addr().await,
        RawUpstream::start(scripts::echo()).await,
    );
    let both = vec![dead, upstream.addr()];
    let connector = resolving(move |_: &str, _| {
        let both = both.clone();
        async move { Ok(both) }
    });
    assert_eq!(outcome(NAMED.to_owned(), connector).await.0, 101);
}

#[tokio::test]
async fn a_name_without_addresses_is_not_resolved() {
    let connector = resolving(|_: &str, _| async { Ok(Vec::new()) });
    let (status, events) = outcome(NAMED.to_owned(), connector).await;
    assert_eq!((status, events), (502, failed("Resolve")));
}

#[tokio::test]
async fn a_resolver_that_fails_is_told_from_a_connection_that_does() {
    let connector = resolving(|_: &str, _| async { Err(io::Error::other("SERVFAIL")) });
    let (status, events) = outcome(NAMED.to_owned(), connector).await;
    assert_eq!((status, events), (502, failed("Resolve")));
    let dead = closed_addr().await;
    let connector = resolving(move |_: &str, _| async move { Ok(vec![dead]) });
    let (status, events) = outcome(NAMED.to_owned(), connector).await;
    assert_eq!((status, events), (502, failed("Connect")));
}

#[tokio::test]
async fn a_silent_resolver_is_not_taken_for_a_silent_upstream() {
    let connector = resolving(|_: &str, _| pending());
    let (status, events) = outcome(NAMED.to_owned(), connector).await;
    assert_eq!((status, events), (502, failed("Resolve")));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn tunnels_leave_from_several_local_addresses_in_turn() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let connector = Connector::new().source_addresses([[127, 0, 0, 2], [127, 0, 0, 3]]);
    let proxied = Proxied::start(Host::Axum, pool([url]), |layer| layer.connector(connector)).await;
    for source in ["127.0.0.2", "127.0.0.3", "127.0.0.2"] {
        let mut client = proxied.connect().await;
        client
            .send(&crate::support::raw::handshake_request("/ws/x", &[]))
            .await;
        let (_stream, from) = listener.accept().await.unwrap();
        assert_eq!(from.ip().to_string(), source);
    }
}

#[tokio::test]
async fn upstreams_are_reached_by_ipv6_and_by_ipv4_in_its_clothes() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let mapped = format!("ws://[::ffff:127.0.0.1]:{}", upstream.addr().port());
    assert_eq!(outcome(mapped, Connector::new()).await.0, 101);

    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await;
    let Ok(listener) = listener else {
        return; // no IPv6 on this machine
    };
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let serve = async {
        let (mut stream, from) = listener.accept().await.unwrap();
        assert_eq!(from.ip(), IpAddr::V6(Ipv6Addr::LOCALHOST));
        answer(&mut stream).await;
        stream
    };
    let (_stream, (status, _)) = tokio::join!(serve, outcome(url, Connector::new()));
    assert_eq!(status, 101);
}

/// Accepts the handshake that comes on this stream.
async fn answer(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(head) = Head::parse(&bytes) {
            break head;
        }
        bytes.push(stream.read_u8().await.unwrap());
    };
    let answer = switching_protocols(&head, &[]);
    stream.write_all(&answer).await.unwrap();
}

/// A connector like one over vsock, SSH or a simulated network: its streams are not sockets, and it
/// gives the address a meaning of its own.
#[derive(Debug)]
struct InMemory(Arc<Mutex<Vec<(Address, DuplexStream)>>>);

impl Connect for InMemory {
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a> {
        Box::pin(async {
            let (near, far) = tokio::io::duplex(64);
            self.0.lock().unwrap().push((address.clone(), far));
            Ok(Transport::new(near))
        })
    }
}

#[tokio::test]
async fn a_connector_of_ones_own_brings_any_stream() {
    let dialled = Arc::new(Mutex::new(Vec::new()));
    let connector = InMemory(Arc::clone(&dialled));
    let vm = pool(["unix:vm-7".to_owned()]);
    let proxied = Proxied::start(Host::Axum, vm, |layer| layer.connector(connector)).await;
    let upstream = async {
        let (address, mut stream) = loop {
            if let Some(dialled) = dialled.lock().unwrap().pop() {
                break dialled;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(address, Address::Unix("vm-7".into()));
        answer(&mut stream).await;
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream
    };
    let client = async {
        let mut client = proxied.open("/ws/x").await;
        assert_eq!(client.exchange(b"bytes", 5).await, "bytes");
        client
    };
    let (stream, mut client) = tokio::join!(upstream, client);
    drop(stream);
    client.try_read_some().await.unwrap();
}
