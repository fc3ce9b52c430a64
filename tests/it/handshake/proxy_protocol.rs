//! Upstreams that get the client's address by the PROXY protocol.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use wsplice::connect::ProxyProtocol;
use wsplice::headers::{ClientInfo, Networks};
use wsplice::health::probe::{ProbeSchedule, TcpProbe, WebSocketProbe};
use wsplice::{Pool, ProxyLayer, Upstream, pool::PoolBuilder};

use super::kit::{Host, Proxied};
use crate::support::deadline::within;
use crate::support::upstream::{RawConn, RawUpstream};

const V2_TCP4: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0C\xC0\x00\x02\x01\x0A\x00\x00\x07\xC3\x50\x01\xBB";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// An upstream that expects these bytes before the handshake, on every connection.
async fn upstream_expecting(header: &'static [u8]) -> RawUpstream {
    RawUpstream::start(move |mut conn: RawConn| async move {
        assert_eq!(&conn.read_exact(header.len()).await[..], header);
        let head = conn.read_request_head().await;
        conn.accept_101(&head, &[]).await;
        let bytes = conn.read_exact(5).await;
        conn.send(&bytes).await;
    })
    .await
}

fn announced(upstream: &RawUpstream, version: ProxyProtocol) -> PoolBuilder {
    let upstream = Upstream::new(&upstream.url()).unwrap();
    Pool::from_upstreams([upstream.send_proxy_protocol(version)])
}

/// A client that the host describes so.
fn of(client: ClientInfo) -> impl FnOnce(ProxyLayer) -> ProxyLayer {
    move |layer| layer.client_info(move |_| Some(client))
}

fn client() -> ClientInfo {
    let peer: SocketAddr = "192.0.2.1:50000".parse().unwrap();
    ClientInfo::from(peer).with_local("10.0.0.7:443".parse().unwrap())
}

async fn expect_echo(proxied: &Proxied) {
    let mut client = proxied.open("/ws/x").await;
    assert_eq!(client.exchange(b"bytes", 5).await, "bytes");
}

#[tokio::test]
async fn a_line_of_version_1_goes_before_the_handshake() {
    let line = b"PROXY TCP4 192.0.2.1 10.0.0.7 50000 443\r\n";
    let upstream = upstream_expecting(line).await;
    for host in Host::ALL {
        let pool = announced(&upstream, ProxyProtocol::V1);
        let proxied = Proxied::start(host, pool, of(client())).await;
        expect_echo(&proxied).await;
    }
}

#[tokio::test]
async fn a_header_of_version_2_goes_before_the_handshake() {
    let upstream = upstream_expecting(V2_TCP4).await;
    let pool = announced(&upstream, ProxyProtocol::V2);
    let proxied = Proxied::start(Host::Axum, pool, of(client())).await;
    expect_echo(&proxied).await;
    expect_echo(&proxied).await;
    assert_eq!(
        upstream.log().accepted,
        2,
        "each has a connection of its own"
    );
}

#[tokio::test]
async fn a_client_whom_a_trusted_proxy_names_has_no_port() {
    let line = b"PROXY TCP4 198.51.100.9 10.0.0.7 0 443\r\n";
    let upstream = upstream_expecting(line).await;
    let pool = announced(&upstream, ProxyProtocol::V1);
    let trusted = Networks::parse(["192.0.2.0/24"]).unwrap();
    let proxied =
        Proxied::start(Host::Axum, pool, |layer| of(client())(layer).trust(trusted)).await;
    let forwarded = ("X-Forwarded-For", "6.6.6.6, 198.51.100.9");
    let (mut client, head) = proxied.handshake("/ws/x", &[forwarded]).await;
    assert_eq!(head.status(), 101);
    assert_eq!(client.exchange(b"bytes", 5).await, "bytes");
}

#[tokio::test]
async fn a_stranger_cannot_claim_another_address() {
    let line = b"PROXY TCP4 192.0.2.1 10.0.0.7 50000 443\r\n";
    let upstream = upstream_expecting(line).await;
    let pool = announced(&upstream, ProxyProtocol::V1);
    let proxied = Proxied::start(Host::Axum, pool, of(client())).await;
    let (_client, head) = proxied
        .handshake("/ws/x", &[("X-Forwarded-For", "6.6.6.6")])
        .await;
    assert_eq!(head.status(), 101);
    upstream
        .wait_for("the head", |log| log.heads.len() == 1)
        .await;
}

#[tokio::test]
async fn a_client_without_an_address_is_unknown() {
    let upstream = upstream_expecting(b"PROXY UNKNOWN\r\n").await;
    let pool = announced(&upstream, ProxyProtocol::V1);
    let proxied = Proxied::start(Host::Axum, pool, of(ClientInfo::new())).await;
    expect_echo(&proxied).await;
}

/// The first bytes of every connection that probes make.
async fn probed(set: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Vec<u8> {
    let (sender, mut received) = mpsc::unbounded_channel();
    let upstream = RawUpstream::start(move |mut conn: RawConn| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(conn.try_read_some().await.unwrap_or_default());
        }
    })
    .await;
    let pool = set(announced(&upstream, ProxyProtocol::V2));
    let pool = pool.probe_schedule(ProbeSchedule::every(Duration::from_millis(20)));
    let _proxied = Proxied::start(Host::Axum, pool, |layer| layer).await;
    let first = within("a probe", received.recv()).await;
    first.expect("the upstream lives").to_vec()
}

#[tokio::test]
async fn probes_come_from_the_proxy_itself() {
    let first = probed(|pool| pool.probe(WebSocketProbe::get("/ws/health"))).await;
    assert!(first.starts_with(V2_LOCAL), "{first:?}");
    assert_eq!(probed(|pool| pool.probe(TcpProbe::new())).await, V2_LOCAL);
}
