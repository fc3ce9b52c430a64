//! The PROXY protocol, of which any bytes may come, beside a reader of whole headers by the text of the
//! protocol; and the headers that the proxy sends, which its own reader and the strict one must read alike.
//!
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>; sections are of that text.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use http::Request;
use http_body_util::Empty;
use tokio::io::AsyncReadExt;
use tower_service::Service;
use wsplice::{
    Pool, ProxyLayer, Upstream,
    accept::{AcceptProxyProtocol, ClientStream},
    connect::ProxyProtocol,
    headers::{ClientInfo, Networks},
};

use crate::support::{clock::on_a_paused_clock, dice::Dice, pipe::connection};

use super::stage::{Upstreams, send_in_pieces};

/// The longest header of version 2 that is read.
const MAX_HEADER: usize = 4096;

/// The first bytes of a connection, and where they are cut.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) bytes: Vec<u8>,
    cuts: Vec<usize>,
    ends: [Option<SocketAddr>; 2],
}

/// The header of a connection, as far as it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// The source and the destination, if they are reported, and the length of the header.
    Whole(Option<(SocketAddr, SocketAddr)>, usize),
    Partial,
    Invalid,
}

impl Case {
    /// Draws a connection.
    pub(crate) fn draw(dice: &mut impl Dice) -> Self {
        let mut bytes = match dice.below(3) {
            0 => line(dice),
            _ => binary(dice),
        };
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
        if dice.is_one_of(4) {
            let at = dice.below(bytes.len());
            bytes[at] = dice.below(256) as u8;
        }
        let cuts = super::garble::cuts(dice, bytes.len());
        let ends = [end(dice), end(dice)];
        Self { bytes, cuts, ends }
    }

    /// A connection that begins with these bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let cuts = (1..bytes.len()).step_by(7).collect();
        let bytes = bytes.to_vec();
        Self {
            bytes,
            cuts,
            ends: [None; 2],
        }
    }
}

/// Checks the laws; returns the header by the model.
pub(crate) fn check(case: &Case) -> Header {
    let model = header(&case.bytes);
    for cuts in [&[][..], &case.cuts] {
        let read = on_a_paused_clock(read(&case.bytes, cuts));
        match (model, read) {
            (Header::Whole(reported, len), Ok((client, behind))) => {
                let wanted = reported.map(|(source, destination)| (source, Some(destination)));
                assert_eq!(client, wanted.unwrap_or((balancer(), None)));
                assert_eq!(behind, &case.bytes[len..], "bytes behind the header");
            }
            (Header::Partial, Err(io::ErrorKind::UnexpectedEof)) => {}
            (Header::Invalid, Err(io::ErrorKind::InvalidData)) => {}
            // Bytes that are wrong already, of a header that is not whole.
            (Header::Partial, Err(io::ErrorKind::InvalidData)) => {}
            (Header::Invalid, Err(io::ErrorKind::UnexpectedEof)) => {}
            (model, read) => panic!("{model:?}, but read {read:?} of {:?}", case.bytes),
        }
    }
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        check_sent(version, case.ends);
    }
    model
}

fn balancer() -> SocketAddr {
    ([10, 0, 0, 1], 4000).into()
}

type Client = (SocketAddr, Option<SocketAddr>);

/// Reads the header of a connection on which these bytes come before its end.
async fn read(bytes: &[u8], cuts: &[usize]) -> Result<(Client, Vec<u8>), io::ErrorKind> {
    let (far, mut near) = connection();
    let trusted = Networks::parse(["10.0.0.0/8"]).expect("a network");
    let accept = AcceptProxyProtocol::from_networks(trusted);
    let sending = async {
        send_in_pieces(&far, bytes, cuts).await;
        far.finish();
    };
    let reading = async {
        let client = ClientInfo::from(balancer());
        let client = accept.read_header(&mut near, client).await;
        let client = client.map_err(|error| error.kind())?;
        let mut behind = Vec::new();
        let read = near.read_to_end(&mut behind).await;
        read.map_err(|error| error.kind())?;
        Ok(((client.peer().expect("a peer"), client.local()), behind))
    };
    tokio::join!(reading, sending).0
}

/// An upstream gets a header that the model and our own reader read as the ends of the client's connection.
fn check_sent(version: ProxyProtocol, [source, destination]: [Option<SocketAddr>; 2]) {
    let mut client = ClientInfo::new();
    if let Some(source) = source {
        client = client.with_peer(source);
    }
    if let Some(destination) = destination {
        client = client.with_local(destination);
    }
    let sent = on_a_paused_clock(send(version, client));
    let Header::Whole(reported, len) = header(&sent) else {
        panic!("{sent:?} is no header");
    };
    assert!(sent[len..].starts_with(b"GET /ws HTTP/1.1\r\n"), "{sent:?}");
    let both = source.map(|source| ends(source, destination));
    assert_eq!(reported, both, "{:?}", String::from_utf8_lossy(&sent));
    let (read, behind) = on_a_paused_clock(read(&sent, &[])).expect("a header");
    let both = both.map(|(source, destination)| (source, Some(destination)));
    assert_eq!(read, both.unwrap_or((balancer(), None)));
    assert_eq!(behind, &sent[len..]);
}

/// Both ends as they are reported: in one family, and IPv4 where both have it.
fn ends(source: SocketAddr, destination: Option<SocketAddr>) -> (SocketAddr, SocketAddr) {
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let source = canonical(source);
    let nowhere: IpAddr = match source {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let destination = destination.map_or(SocketAddr::new(nowhere, 0), canonical);
    let as_v6 = |end: SocketAddr| match end.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), end.port()),
        IpAddr::V6(ip) => SocketAddr::new(ip.into(), end.port()),
    };
    match source.is_ipv4() && destination.is_ipv4() {
        true => (source, destination),
        false => (as_v6(source), as_v6(destination)),
    }
}

async fn send(version: ProxyProtocol, client: ClientInfo) -> Vec<u8> {
    let upstreams = Upstreams::new(|_| true);
    let upstream = Upstream::new("ws://upstream:80").expect("an address");
    let pool = Pool::from_upstreams([upstream.send_proxy_protocol(version)]);
    let layer = ProxyLayer::new(pool).connector(upstreams.clone());
    let request = Request::get("/ws")
        .header("host", "a")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .extension(client)
        .extension(ClientStream::from_future(std::future::pending()))
        .body(Empty::<bytes::Bytes>::new())
        .expect("a request");
    let response = tokio::spawn(layer.into_service().call(request));
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    response.abort();
    upstreams.received().into_iter().next().unwrap_or_default()
}

/// Reads a whole header.
fn header(bytes: &[u8]) -> Header {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    let shared = bytes.len().min(SIGNATURE.len());
    if bytes[..shared] == SIGNATURE[..shared] {
        return version_2(bytes);
    }
    let shared = bytes.len().min(6);
    if bytes[..shared] == b"PROXY "[..shared] {
        return version_1(bytes);
    }
    Header::Invalid
}

/// §2.1: a line of 107 bytes at most.
fn version_1(bytes: &[u8]) -> Header {
    let longest = &bytes[..bytes.len().min(107)];
    let Some(end) = longest.iter().position(|byte| *byte == b'\n') else {
        return match bytes.len() < 107 {
            true => Header::Partial,
            false => Header::Invalid,
        };
    };
    let line = bytes[..end].strip_suffix(b"\r");
    let Some(line) = line.and_then(|line| std::str::from_utf8(line).ok()) else {
        return Header::Invalid;
    };
    let fields: Vec<&str> = line.split(' ').collect();
    if let ["PROXY", "UNKNOWN", ..] = fields[..] {
        return Header::Whole(None, end + 1);
    }
    let [
        "PROXY",
        family,
        source,
        destination,
        source_port,
        destination_port,
    ] = fields[..]
    else {
        return Header::Invalid;
    };
    let is_v4 = match family {
        "TCP4" => true,
        "TCP6" => false,
        _ => return Header::Invalid,
    };
    let end_of = |ip: &str, port: &str| {
        let ip: IpAddr = ip.parse().ok()?;
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|_| is_number)?;
        Some(SocketAddr::new(ip, port)).filter(|_| ip.is_ipv4() == is_v4)
    };
    match (
        end_of(source, source_port),
        end_of(destination, destination_port),
    ) {
        (Some(source), Some(destination)) => Header::Whole(Some((source, destination)), end + 1),
        _ => Header::Invalid,
    }
}

/// §2.2.
fn version_2(bytes: &[u8]) -> Header {
    let Some(fixed) = bytes.get(12..16) else {
        return Header::Partial;
    };
    let length = usize::from(fixed[2]) << 8 | usize::from(fixed[3]);
    let wanted = match (fixed[0], fixed[1]) {
        (0x21, 0x11) => 12,
        (0x21, 0x21) => 36,
        (0x20 | 0x21, _) => 0,
        _ => return Header::Invalid,
    };
    if length < wanted || 16 + length > MAX_HEADER {
        return Header::Invalid;
    }
    let Some(rest) = bytes.get(16..16 + length) else {
        return Header::Partial;
    };
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&rest[at..at + 4]).expect("4 bytes"));
    let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&rest[at..at + 16]).expect("16 bytes"));
    let reported = match wanted {
        12 => Some(((v4(0), port(8)).into(), (v4(4), port(10)).into())),
        36 => Some(((v6(0), port(32)).into(), (v6(16), port(34)).into())),
        _ => None,
    };
    Header::Whole(reported, 16 + length)
}

fn end(dice: &mut impl Dice) -> Option<SocketAddr> {
    let port = dice.below(65536) as u16;
    let ip: IpAddr = match dice.below(5) {
        0 => return None,
        1 => [192, 0, 2, dice.below(256) as u8].into(),
        2 => Ipv4Addr::new(10, 0, 0, 9).to_ipv6_mapped().into(),
        3 => Ipv6Addr::LOCALHOST.into(),
        _ => {
            let bytes = dice.bytes(16);
            Ipv6Addr::from(<[u8; 16]>::try_from(bytes).expect("16 bytes")).into()
        }
    };
    Some((ip, port).into())
}

fn line(dice: &mut impl Dice) -> Vec<u8> {
    let word = dice.pick(["PROXY", "PROXY", "PROXY", "PROX", "proxy"]);
    let family = dice.pick(["TCP4", "TCP4", "TCP6", "TCP6", "UNKNOWN", "UDP4", "TCP"]);
    let mut address = || {
        dice.pick([
            "192.0.2.1",
            "10.0.0.9",
            "::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "01.2.3.4",
            "1.2.3",
            "::1%1",
            "",
        ])
    };
    let (source, destination) = (address(), address());
    let mut port = || dice.pick(["0", "1", "80", "65535", "65536", "+1", "", "0080"]);
    let (source_port, destination_port) = (port(), port());
    let space = dice.pick([" ", " ", " ", "  ", "\t"]);
    let end = dice.pick(["\r\n", "\r\n", "\r\n", "\n", " x\r\n", "\r", ""]);
    format!("{word} {family}{space}{source} {destination} {source_port} {destination_port}{end}")
        .into_bytes()
}

fn binary(dice: &mut impl Dice) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.push(dice.pick([0x21, 0x21, 0x21, 0x20, 0x22, 0x11]));
    bytes.push(dice.pick([0x11, 0x21, 0x11, 0x21, 0x00, 0x12, 0x31]));
    let length = dice.pick([0, 11, 12, 13, 35, 36, 40, 300, 4080, 4081, 65535]);
    bytes.extend_from_slice(&(length as u16).to_be_bytes());
    let sent = match dice.below(3) {
        0 => dice.below(length + 1),
        _ => length,
    };
    bytes.extend(dice.bytes(sent));
    bytes
}
