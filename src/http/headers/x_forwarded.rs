//! Values of the `X-Forwarded` headers.
//!
//! The functions believe the values that they find: of an untrusted sender they get none.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::checked_insert;
use super::client_info::ClientScheme;
use super::tokens::members;
use super::untrusted::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PREFIX, X_FORWARDED_PROTO};

/// Length of an IPv6 address in text, which is the longest one.
const ADDRESS_LEN: usize = 39;

/// Returns the members of all lines of `X-Forwarded-For`, and the peer behind them if it has an
/// address.
pub(super) fn with_peer(received: &HeaderMap, peer: Option<IpAddr>) -> Vec<u8> {
    let mut list = Vec::with_capacity(ADDRESS_LEN);
    for prior in members(received, &X_FORWARDED_FOR) {
        checked_insert::push_member(&mut list, prior);
    }
    if let Some(peer) = peer {
        checked_insert::push_member(&mut list, b"");
        push_address(&mut list, peer);
    }
    list
}

/// Appends an address. The formatter of the standard library takes ten times as long for IPv4.
fn push_address(list: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        return list.extend_from_slice(address.to_string().as_bytes());
    };
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            list.push(b'.');
        }
        if octet >= 100 {
            list.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            list.push(b'0' + octet / 10 % 10);
        }
        list.push(b'0' + octet % 10);
    }
}

/// Returns the last `X-Forwarded-Proto`, with `ws` mapped to `http`; without one, `scheme`.
pub(super) fn proto(received: &HeaderMap, scheme: ClientScheme) -> &[u8] {
    match last(received, &X_FORWARDED_PROTO) {
        None => scheme.as_str().as_bytes(),
        Some(kept) if kept.eq_ignore_ascii_case(b"ws") => b"http",
        Some(kept) if kept.eq_ignore_ascii_case(b"wss") => b"https",
        Some(kept) => kept,
    }
}

/// Returns the scheme in the last `X-Forwarded-Proto`, if it is a known one.
pub(super) fn scheme(headers: &HeaderMap) -> Option<ClientScheme> {
    let named = last(headers, &X_FORWARDED_PROTO)?;
    let is = |names: [&str; 2]| {
        names
            .iter()
            .any(|it| named.eq_ignore_ascii_case(it.as_bytes()))
    };
    if is(["https", "wss"]) {
        Some(ClientScheme::Https)
    } else if is(["http", "ws"]) {
        Some(ClientScheme::Http)
    } else {
        None
    }
}

/// Returns the last `X-Forwarded-Prefix` with this prefix of paths behind it: the outer proxy removed
/// its own first.
pub(super) fn with_prefix(received: &HeaderMap, prefix: &str) -> Vec<u8> {
    let outer = last(received, &X_FORWARDED_PREFIX).unwrap_or_default();
    let end = outer.iter().rposition(|byte| *byte != b'/');
    let outer = end.and_then(|at| outer.get(..=at)).unwrap_or_default();
    [outer, prefix.as_bytes()].concat()
}

/// Returns the last `X-Forwarded-Host`; without one, `host`.
pub(super) fn host<'a>(received: &'a HeaderMap, host: Option<&'a HeaderValue>) -> &'a [u8] {
    let kept = last(received, &X_FORWARDED_HOST);
    kept.or(host.map(HeaderValue::as_bytes)).unwrap_or_default()
}

/// Returns the value that the nearest proxy wrote: proxies append on the right.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    members(headers, name).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_static(line));
        }
        headers
    }

    fn written_for(lines: &[&'static str], peer: &str) -> String {
        let list = with_peer(&received(&X_FORWARDED_FOR, lines), peer.parse().ok());
        String::from_utf8(list).unwrap()
    }

    fn written_proto(lines: &[&'static str]) -> String {
        let received = received(&X_FORWARDED_PROTO, lines);
        String::from_utf8(proto(&received, ClientScheme::Https).to_vec()).unwrap()
    }

    fn written_host(lines: &[&'static str], requested: Option<&'static str>) -> String {
        let requested = requested.map(HeaderValue::from_static);
        let received = received(&X_FORWARDED_HOST, lines);
        String::from_utf8(host(&received, requested.as_ref()).to_vec()).unwrap()
    }

    #[test]
    fn for_lines_are_merged_and_the_peer_comes_last() {
        assert_eq!(written_for(&[], "192.0.2.1"), "192.0.2.1");
        assert_eq!(
            written_for(&["a ,b", ",", "c"], "192.0.2.1"),
            "a, b, c, 192.0.2.1"
        );
    }

    #[test]
    fn for_addresses_are_written_without_brackets() {
        assert_eq!(written_for(&["a"], "2001:db8::1"), "a, 2001:db8::1");
    }

    #[test]
    fn octets_have_no_leading_zeros() {
        for octet in 0..=255_u8 {
            let peer = std::net::Ipv4Addr::new(octet, 0, 10, 100).to_string();
            assert_eq!(written_for(&[], &peer), peer);
        }
    }

    #[test]
    fn for_is_not_invented() {
        assert_eq!(written_for(&[], ""), "");
        assert_eq!(written_for(&[" , "], ""), "");
        assert_eq!(written_for(&["a", "b"], ""), "a, b");
    }

    #[test]
    fn the_last_proto_is_kept() {
        assert_eq!(written_proto(&["https, http"]), "http");
        assert_eq!(written_proto(&["https", "http", " ,"]), "http");
        assert_eq!(written_proto(&[]), "https");
        assert_eq!(written_proto(&[" , "]), "https");
    }

    #[test]
    fn proto_is_never_a_websocket_scheme() {
        assert_eq!(written_proto(&["ws"]), "http");
        assert_eq!(written_proto(&["http, WSS"]), "https");
    }

    #[test]
    fn the_last_host_is_kept() {
        assert_eq!(
            written_host(&["a.example", "b.example, c.example"], Some("h")),
            "c.example"
        );
        assert_eq!(
            written_host(&[""], Some("example.com:80")),
            "example.com:80"
        );
        assert_eq!(written_host(&[], None), "");
    }
}
