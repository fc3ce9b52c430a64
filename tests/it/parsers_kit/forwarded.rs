//! Any lines of the headers by which proxies describe the client, beside a walk along the chain of hops
//! that is written down here.
//!
//! An untrusted peer is believed nothing: the upstream reads what it reads without the lines. A trusted
//! peer's list is kept, and the peer is behind it. The client is the nearest address that is not trusted,
//! and no entry beyond it counts. What is written can be read, also by readers that know no quotes.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use wsplice::headers::{ClientInfo, ClientScheme, ForwardedHeaders, Networks, resolve_client};

use crate::support::dice::Dice;

/// A request of a peer, as far as it is about the client.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    lines: Vec<(&'static str, Vec<u8>)>,
    peer: Option<SocketAddr>,
    host: Vec<u8>,
    trusts_unknown: bool,
}

const TRUSTED: [&str; 3] = ["10.0.0.0/8", "fd00::/8", "::1"];

const NAMES: [&str; 12] = [
    "x-forwarded-for",
    "x-forwarded-for",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-port",
    "forwarded",
    "x-real-ip",
    "x_forwarded_for",
    "x.real-ip",
    "x-other",
];

const MEMBERS: [&str; 28] = [
    "10.0.0.2",
    "10.0.0.3:80",
    "192.0.2.1",
    "192.0.2.1:4711",
    "::1",
    "[::1]",
    "[fd00::1]:80",
    "2001:db8::7",
    "\"[2001:db8::7]:80\"",
    "::ffff:10.0.0.4",
    "::ffff:192.0.2.9",
    "[::ffff:10.0.0.4]:1",
    "unknown",
    "_hidden",
    "10.0.0.5.",
    "010.0.0.6",
    "10.0.0.1/8",
    "192.0.2.1 10.0.0.2",
    "[::1",
    "\"10.0.0.2",
    "for=192.0.2.60;proto=http;by=203.0.113.43",
    "for=\"[2001:db8::7]\";host=\"a,b\"",
    "for=\"open",
    "https",
    "wss",
    "a.example:80",
    "",
    "\t ",
];

impl Case {
    /// Draws a case.
    pub(crate) fn draw(dice: &mut impl Dice) -> Self {
        let mut lines = Vec::new();
        for _ in 0..dice.below(6) {
            let name = dice.pick(NAMES);
            let mut line = Vec::new();
            for number in 0..dice.up_to(4) {
                if number > 0 {
                    line.extend_from_slice(dice.pick([", ", ",", " , ", ",,", ";"]).as_bytes());
                }
                match dice.below(8) {
                    0 => line.extend(
                        (0..dice.below(9))
                            .map(|_| dice.below(256) as u8)
                            .collect::<Vec<_>>(),
                    ),
                    _ => line.extend_from_slice(dice.pick(MEMBERS).as_bytes()),
                }
            }
            lines.push((name, line));
        }
        let peer = dice.pick([
            Some("10.0.0.1:1"),
            Some("192.0.2.200:2"),
            Some("[::ffff:10.0.0.1]:3"),
            Some("[::1]:4"),
            Some("[2001:db8::1]:5"),
            None,
        ]);
        Self {
            lines,
            peer: peer.map(|peer| peer.parse().expect("an address")),
            host: dice
                .pick([
                    "a.example",
                    "a:80",
                    "[::1]:80",
                    "a, for=10.0.0.1",
                    "\u{fc}",
                    "",
                ])
                .into(),
            trusts_unknown: dice.is_one_of(3),
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, line) in &self.lines {
            if let Ok(line) = HeaderValue::from_bytes(line) {
                headers.append(HeaderName::from_static(name), line);
            }
        }
        headers
    }
}

/// Checks the laws; returns whether the peer is trusted.
pub(crate) fn check(case: &Case) -> bool {
    let received = case.headers();
    let trusted = Networks::parse(TRUSTED).expect("networks");
    let mut settings = ForwardedHeaders::new().trust(trusted.clone());
    settings = settings.with_forwarded().with_x_real_ip();
    if case.trusts_unknown {
        settings = settings.trust_unknown_peer();
    }
    let client = case.peer.map_or_else(ClientInfo::new, ClientInfo::from);
    let peer = case.peer.map(|peer| canonical(peer.ip()));
    let is_trusted = peer.map_or(case.trusts_unknown, is_trusted);

    let found = settings.client_ip(&received, &client);
    assert_eq!(found, walk(&received, peer, is_trusted), "{case:?}");
    if peer.is_some() {
        assert_eq!(resolve_client(&received, peer, &trusted), found);
    }
    let mut written = received.clone();
    let host = HeaderValue::from_bytes(&case.host).expect("a value");
    settings.apply(&mut written, &client, Some(&host));
    check_lines(case, &received, &written, peer, is_trusted);
    assert_eq!(
        written.get("x-real-ip").map(text),
        found.map(|ip| ip.to_string())
    );
    if !is_trusted {
        let mut bare = HeaderMap::new();
        bare.extend(
            received
                .get_all("x-other")
                .iter()
                .map(|line| (HeaderName::from_static("x-other"), line.clone())),
        );
        settings.apply(&mut bare, &client, Some(&host));
        assert_eq!(written, bare, "{case:?}");
        assert_eq!(
            settings.client_scheme(&received, &client),
            ClientScheme::Http
        );
    }
    // The next hop, which trusts this proxy, finds the same client.
    let next = walk(&written, Some([10, 0, 0, 99].into()), true);
    if let (Some(_), Some(found)) = (peer, found) {
        assert_eq!(next, Some(found), "{case:?}: {written:?}");
    }
    is_trusted
}

/// The lines that the upstream reads.
fn check_lines(
    case: &Case,
    received: &HeaderMap,
    written: &HeaderMap,
    peer: Option<IpAddr>,
    is_trusted: bool,
) {
    for name in [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "forwarded",
        "x-real-ip",
    ] {
        assert!(
            written.get_all(name).iter().count() <= 1,
            "{name} in {written:?}"
        );
    }
    for name in ["x_forwarded_for", "x.real-ip"] {
        assert!(!written.contains_key(name), "{name} in {written:?}");
    }
    let mut wanted = match is_trusted {
        true => members(received, "x-forwarded-for"),
        false => Vec::new(),
    };
    wanted.extend(peer.map(|peer| peer.to_string().into_bytes()));
    assert_eq!(members(written, "x-forwarded-for"), wanted, "{case:?}");
    let proto = written
        .get("x-forwarded-proto")
        .map(text)
        .unwrap_or_default();
    assert!(
        !["ws", "wss"].contains(&&*proto.to_ascii_lowercase()),
        "{proto}"
    );
    // The last element is the proxy's, also for readers that split at each comma.
    let forwarded = written.get("forwarded").expect("it is written").as_bytes();
    let last = forwarded
        .split(|byte| *byte == b',')
        .next_back()
        .unwrap_or_default();
    let last = String::from_utf8_lossy(last).into_owned();
    let node = peer.map(|peer| match peer {
        IpAddr::V4(peer) => format!("for={peer}"),
        IpAddr::V6(peer) => format!("for=\"[{peer}]\""),
    });
    assert!(
        last.trim().starts_with(node.as_deref().unwrap_or_default()),
        "{last}"
    );
    assert!(last.ends_with("proto=http"), "{last}");
    let quotes = forwarded.iter().filter(|byte| **byte == b'"').count();
    let escapes = forwarded.contains(&b'\\');
    assert!(escapes || quotes % 2 == 0, "{forwarded:?}");
}

/// The client by the chain of hops, from the peer on.
fn walk(headers: &HeaderMap, peer: Option<IpAddr>, is_peer_trusted: bool) -> Option<IpAddr> {
    if !is_peer_trusted {
        return peer;
    }
    let mut client = peer;
    for member in members(headers, "x-forwarded-for").into_iter().rev() {
        let Some(address) = address(&member) else {
            break;
        };
        client = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    client
}

fn is_trusted(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.octets()[0] == 0xFD || address.is_loopback(),
    }
}

/// The address of an entry, with or without a port, brackets and quotes.
fn address(member: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(member).ok()?;
    let unquoted = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let text = unquoted.unwrap_or(text);
    let ip = text.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|end| end.ip());
    let in_brackets = || {
        let inside = text.strip_prefix('[')?.strip_suffix(']')?;
        inside.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6)
    };
    ip.or_else(with_port).or_else(in_brackets).map(canonical)
}

const fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn members(headers: &HeaderMap, name: &str) -> Vec<Vec<u8>> {
    let lines = headers.get_all(name).iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let members = members.map(super::strict::trim);
    members
        .filter(|member| !member.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
