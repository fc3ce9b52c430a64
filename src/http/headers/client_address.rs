//! The client's address behind trusted proxies.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str;

use http::HeaderMap;

use super::networks::Networks;
use super::tokens::members;
use super::untrusted::X_FORWARDED_FOR;

/// Returns the address of the client, as far as trusted proxies vouch for it.
///
/// The peer vouches for the right-most entry of `X-Forwarded-For`, that one for the entry to its
/// left, and so on. The walk starts at the peer and ends at the first address that is not trusted.
/// Entries further left are hearsay; the left-most one, which is often read instead, is under the
/// client's control. All lines of the header are one list.
///
/// - If the peer is untrusted, its own address is returned and the header is ignored.
/// - If all entries are trusted, the left-most of them is returned.
/// - An entry that is not an address (`unknown`, a name, garbage) ends the walk. The last address
///   before it is returned, even if that is a trusted proxy's, because the entries beyond are not
///   vouched for.
/// - If the peer is unknown, `None` is returned.
///
/// Entries may carry ports, brackets and quotes: `192.0.2.1:80`, `[2001:db8::1]`,
/// `"[2001:db8::1]:80"`. IPv4-mapped IPv6 addresses become IPv4.
///
/// # Examples
///
/// ```
/// use wsplice::headers::{Networks, resolve_client};
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.0.0.2".parse()?);
/// let trusted = Networks::parse(["10.0.0.0/8"])?;
///
/// // 10.0.0.1 saw 10.0.0.2, which saw 192.0.2.1, which said that it was 6.6.6.6.
/// let client = resolve_client(&headers, Some("10.0.0.1".parse()?), &trusted);
/// assert_eq!(client, Some("192.0.2.1".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn resolve_client(
    headers: &HeaderMap,
    peer: Option<IpAddr>,
    trust: &Networks,
) -> Option<IpAddr> {
    let peer = peer?.to_canonical();
    if !trust.contains(peer) {
        return Some(peer);
    }
    Some(walk(headers, trust).unwrap_or(peer))
}

/// Reads `X-Forwarded-For` from the right on behalf of a trusted peer; `None` if not even the
/// right-most entry is an address.
pub(super) fn walk(headers: &HeaderMap, trust: &Networks) -> Option<IpAddr> {
    let mut client = None;
    for entry in members(headers, &X_FORWARDED_FOR).rev() {
        let Some(addr) = parse_entry(entry) else {
            break;
        };
        client = Some(addr);
        if !trust.contains(addr) {
            break;
        }
    }
    client
}

fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let text = strip_delimiters(str::from_utf8(entry).ok()?, '"', '"');
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|addr| addr.ip());
    let in_brackets = || {
        strip_delimiters(text, '[', ']')
            .parse::<Ipv6Addr>()
            .ok()
            .map(IpAddr::V6)
    };
    let addr = bare().or_else(with_port).or_else(in_brackets)?;
    Some(addr.to_canonical())
}

/// Returns the text between `open` and `close`, or all of it if they do not enclose it.
fn strip_delimiters(text: &str, open: char, close: char) -> &str {
    text.strip_prefix(open)
        .and_then(|rest| rest.strip_suffix(close))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn forwarded_for(lines: &[&str]) -> HeaderMap {
        lines
            .iter()
            .map(|line| {
                (
                    X_FORWARDED_FOR.clone(),
                    HeaderValue::try_from(*line).unwrap(),
                )
            })
            .collect()
    }

    /// Resolves the client behind 10.0.0.1, with 10.0.0.0/8 trusted.
    fn resolve(lines: &[&str]) -> String {
        let trust = Networks::parse(["10.0.0.0/8"]).unwrap();
        let peer = Some([10, 0, 0, 1].into());
        resolve_client(&forwarded_for(lines), peer, &trust)
            .unwrap()
            .to_string()
    }

    #[test]
    fn an_untrusted_peer_is_the_client() {
        let trust = Networks::parse(["10.0.0.0/8"]).unwrap();
        let headers = forwarded_for(&["10.0.0.2"]);
        let peer: IpAddr = "192.0.2.9".parse().unwrap();
        assert_eq!(resolve_client(&headers, Some(peer), &trust), Some(peer));
        assert_eq!(
            resolve_client(&headers, Some(peer), &Networks::none()),
            Some(peer)
        );
    }

    #[test]
    fn an_unknown_peer_vouches_for_nothing() {
        let trust = Networks::parse(["0.0.0.0/0", "::/0"]).unwrap();
        assert_eq!(
            resolve_client(&forwarded_for(&["192.0.2.1"]), None, &trust),
            None
        );
    }

    #[test]
    fn the_left_most_entry_is_not_believed() {
        assert_eq!(resolve(&["6.6.6.6, 192.0.2.1"]), "192.0.2.1");
        assert_eq!(resolve(&["10.9.9.9, 192.0.2.1, 10.0.0.2"]), "192.0.2.1");
    }

    #[test]
    fn repeated_lines_are_one_list() {
        assert_eq!(
            resolve(&["6.6.6.6", "192.0.2.1", "10.0.0.3, 10.0.0.2"]),
            "192.0.2.1"
        );
        assert_eq!(resolve(&["192.0.2.1", " , "]), "192.0.2.1");
    }

    #[test]
    fn where_all_are_trusted_the_left_most_is_the_client() {
        assert_eq!(resolve(&["10.0.0.7, 10.0.0.2"]), "10.0.0.7");
        assert_eq!(resolve(&[]), "10.0.0.1");
    }

    #[test]
    fn an_unreadable_entry_stops_the_walk_at_the_last_good_address() {
        for bad in [
            "unknown",
            "_hidden",
            "host.example",
            "1.2.3",
            "1.2.3.4:",
            "1.2.3.4:99999",
            "[1.2.3.4]",
            "\"",
            "fe80::1%eth0",
        ] {
            assert_eq!(
                resolve(&[&format!("192.0.2.1, {bad}, 10.0.0.2")]),
                "10.0.0.2",
                "{bad}"
            );
            assert_eq!(
                resolve(&[&format!("192.0.2.1, {bad}")]),
                "10.0.0.1",
                "{bad}"
            );
        }
        let mut headers = forwarded_for(&["192.0.2.1"]);
        headers.append(&X_FORWARDED_FOR, HeaderValue::from_bytes(b"\xff").unwrap());
        let peer = Some([127, 0, 0, 1].into());
        assert_eq!(resolve_client(&headers, peer, &Networks::loopback()), peer);
    }

    #[test]
    fn ports_brackets_and_quotes_are_understood() {
        for (entry, addr) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("\"192.0.2.1:80\"", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("\"[2001:db8::1]:80\"", "2001:db8::1"),
            ("\"2001:db8::1\"", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ] {
            assert_eq!(resolve(&[entry]), addr, "{entry}");
        }
    }

    #[test]
    fn mapped_addresses_are_trusted_as_ipv4() {
        assert_eq!(resolve(&["192.0.2.1, ::ffff:10.0.0.2"]), "192.0.2.1");
    }

    /// An entry of a chain: a trusted address, an untrusted one, or no address.
    fn entry() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => (0..=255u8).prop_map(|last| format!("10.0.0.{last}")),
            2 => (0..=255u8).prop_map(|last| format!("192.0.2.{last}")),
            1 => Just("unknown".to_owned()),
        ]
    }

    proptest! {
        /// The result is one entry of the chain `entries, peer`; all to its right are trusted
        /// addresses; and the result itself is untrusted unless its left neighbor is missing or not
        /// an address.
        #[test]
        fn the_client_is_the_first_untrusted_address_from_the_right(
            entries in proptest::collection::vec(entry(), 0..8),
            peer in entry().prop_filter_map("an address", |text| text.parse::<IpAddr>().ok()),
        ) {
            let trust = Networks::parse(["10.0.0.0/8"]).unwrap();
            let headers = forwarded_for(&[&entries.join(", ")]);
            let answer = resolve_client(&headers, Some(peer), &trust).unwrap();

            let mut chain: Vec<Option<IpAddr>> = entries.iter().map(|text| text.parse().ok()).collect();
            chain.push(Some(peer));
            let trusted = |addr: &Option<IpAddr>| addr.is_some_and(|addr| trust.contains(addr));
            let holds_at = |at: usize| {
                let right = chain.get(at + 1..).unwrap_or_default();
                let left = at.checked_sub(1).and_then(|left| chain[left]);
                chain[at] == Some(answer)
                    && right.iter().all(trusted)
                    && (!trust.contains(answer) || left.is_none())
            };
            prop_assert!((0..chain.len()).any(holds_at), "{chain:?} gave {answer}");
        }

        #[test]
        fn no_text_makes_it_panic_or_lose_the_peer(text in "[ -~]{0,40}") {
            let trust = Networks::loopback();
            let peer: IpAddr = [127, 0, 0, 1].into();
            prop_assert!(resolve_client(&forwarded_for(&[&text]), Some(peer), &trust).is_some());
        }
    }
}
