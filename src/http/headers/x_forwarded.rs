//! Writers of the three `X-Forwarded` headers.
//!
//! They believe the values that they find: untrusted lines are removed beforehand.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::checked_insert;
use super::client_info::ClientScheme;
use super::tokens::members;
use super::untrusted::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PREFIX, X_FORWARDED_PROTO};

/// Merges all lines of `X-Forwarded-For` into one, and appends the peer if it has an address.
pub(super) fn append_for(headers: &mut HeaderMap, peer: Option<IpAddr>) {
    let mut list = Vec::new();
    for prior in members(headers, &X_FORWARDED_FOR) {
        checked_insert::push_member(&mut list, prior);
    }
    if let Some(peer) = peer {
        checked_insert::push_member(&mut list, peer.to_string().as_bytes());
    }
    checked_insert::replace_by_list(headers, &X_FORWARDED_FOR, list);
}

/// Keeps the last `X-Forwarded-Proto`, with `ws` mapped to `http`; without one, writes `scheme`.
pub(super) fn keep_proto(headers: &mut HeaderMap, scheme: ClientScheme) {
    let proto = match last(headers, &X_FORWARDED_PROTO) {
        None => scheme.as_str().as_bytes(),
        Some(kept) if kept.eq_ignore_ascii_case(b"ws") => b"http",
        Some(kept) if kept.eq_ignore_ascii_case(b"wss") => b"https",
        Some(kept) => kept,
    };
    let proto = proto.to_vec();
    checked_insert::replace_by_list(headers, &X_FORWARDED_PROTO, proto);
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

/// Appends a prefix of paths to the last `X-Forwarded-Prefix`: the outer proxy removed its own first.
pub(super) fn append_prefix(headers: &mut HeaderMap, prefix: &str) {
    let mut whole = last(headers, &X_FORWARDED_PREFIX)
        .unwrap_or_default()
        .to_vec();
    while whole.last() == Some(&b'/') {
        whole.pop();
    }
    whole.extend(prefix.as_bytes());
    checked_insert::replace_by_list(headers, &X_FORWARDED_PREFIX, whole);
}

/// Keeps the last `X-Forwarded-Host`; without one, writes `host`.
pub(super) fn keep_host(headers: &mut HeaderMap, host: Option<&HeaderValue>) {
    let kept = last(headers, &X_FORWARDED_HOST);
    let host = kept.or(host.map(HeaderValue::as_bytes)).unwrap_or_default();
    let host = host.to_vec();
    checked_insert::replace_by_list(headers, &X_FORWARDED_HOST, host);
}

/// Returns the value that the nearest proxy wrote: proxies append on the right.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    members(headers, name).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the one line of `name` after `write` ran on `lines`; empty if none is left.
    fn written(
        name: &HeaderName,
        lines: &[&'static str],
        write: impl Fn(&mut HeaderMap),
    ) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_static(line));
        }
        write(&mut headers);
        assert!(headers.len() < 2);
        let left = headers.get(name).map(|value| value.to_str().unwrap());
        left.unwrap_or_default().to_owned()
    }

    fn written_for(lines: &[&'static str], peer: &str) -> String {
        let peer = peer.parse().ok();
        written(&X_FORWARDED_FOR, lines, |headers| append_for(headers, peer))
    }

    fn written_proto(lines: &[&'static str]) -> String {
        written(&X_FORWARDED_PROTO, lines, |headers| {
            keep_proto(headers, ClientScheme::Https);
        })
    }

    fn written_host(lines: &[&'static str], host: Option<&'static str>) -> String {
        let host = host.map(HeaderValue::from_static);
        written(&X_FORWARDED_HOST, lines, |headers| {
            keep_host(headers, host.as_ref());
        })
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
