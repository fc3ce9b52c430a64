//! Elements of the `Forwarded` header (RFC 7239).

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderValue};

use super::client_info::ClientScheme;
use super::{checked_insert, quoted};

/// Returns the existing elements, of all lines, and the element for one hop behind them.
///
/// If any line has an open quote all lines are dropped: the text after them would be read as part
/// of the quoted text.
pub(super) fn with_element(received: &HeaderMap, element: &[u8]) -> Vec<u8> {
    let mut list = Vec::new();
    let lines = || {
        let lines = received.get_all(FORWARDED).iter();
        lines.map(HeaderValue::as_bytes)
    };
    if lines().all(quoted::is_closed) {
        for line in lines().filter(|line| !line.trim_ascii().is_empty()) {
            checked_insert::push_member(&mut list, line);
        }
    }
    checked_insert::push_member(&mut list, element);
    list
}

/// Returns one element, as in `for="[2001:db8::1]";host=example.com;proto=https`.
///
/// `for` is left out without an address, `host` without a valid one.
pub(super) fn element(
    peer: Option<IpAddr>,
    scheme: ClientScheme,
    host: Option<&HeaderValue>,
) -> Vec<u8> {
    let mut element = Vec::new();
    if let Some(peer) = peer {
        push_pair(&mut element, b"for", node(peer).as_bytes());
    }
    if let Some(host) = host.map(HeaderValue::as_bytes).filter(|host| is_host(host)) {
        push_pair(&mut element, b"host", host);
    }
    push_pair(&mut element, b"proto", scheme.as_str().as_bytes());
    element
}

/// Returns a node identifier. RFC 7239 §6: IPv6 addresses are in brackets, which need quotes (§4).
fn node(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(addr) => addr.to_string(),
        IpAddr::V6(addr) => format!("[{addr}]"),
    }
}

/// Appends a pair. RFC 7239 §4: `token "=" value`, `;` between pairs, quotes around a value that is
/// not a token.
fn push_pair(element: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if !element.is_empty() {
        element.push(b';');
    }
    element.extend_from_slice(name);
    element.push(b'=');
    quoted::push(element, value);
}

/// Returns whether the value can be a host with a port, by its characters (RFC 3986 §3.2.2, without
/// `,` `;` and `'`).
///
/// Readers that do not know quotes split at every comma, and would find the address that a client
/// wrote into `Host: x, for=192.0.2.1`.
fn is_host(value: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&()*+=:[]".contains(byte);
    !value.is_empty() && value.iter().all(allowed)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    type Pairs = Vec<(String, Vec<u8>)>;

    /// Parses the whole header by the grammar of RFC 7239 §4, independently of the writer.
    pub(in crate::http::headers) fn parse(line: &[u8]) -> Option<Vec<Pairs>> {
        let mut elements = vec![Pairs::new()];
        let mut rest = line;
        loop {
            let equals = rest.iter().position(|byte| *byte == b'=')?;
            let name = String::from_utf8(rest[..equals].trim_ascii_start().to_vec()).ok()?;
            let (value, behind) = parse_value(&rest[equals + 1..])?;
            elements.last_mut()?.push((name, value));
            let behind = behind.trim_ascii_start();
            match behind.first() {
                None => return Some(elements),
                Some(b';') => {}
                Some(b',') => elements.push(Pairs::new()),
                Some(_) => return None,
            }
            rest = &behind[1..];
        }
    }

    fn parse_value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
        let Some(quoted) = text.strip_prefix(b"\"") else {
            let ends = |byte: &u8| b";, \"()/:=@[]{}<>?\\".contains(byte);
            let end = text.iter().position(ends).unwrap_or(text.len());
            return (end > 0).then(|| (text[..end].to_vec(), &text[end..]));
        };
        let mut value = Vec::new();
        let mut bytes = quoted.iter().copied().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => return Some((value, &quoted[at + 1..])),
                b'\\' => value.push(bytes.next()?.1),
                _ => value.push(byte),
            }
        }
        None
    }

    fn text(peer: &str, scheme: ClientScheme, host: &'static str) -> String {
        let host = HeaderValue::from_static(host);
        let element = element(peer.parse().ok(), scheme, Some(&host));
        String::from_utf8(element).unwrap()
    }

    fn appended(lines: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED, HeaderValue::from_static(line));
        }
        String::from_utf8(with_element(&headers, b"proto=http")).unwrap()
    }

    #[test]
    fn elements_follow_rfc7239_4_and_6() {
        assert_eq!(
            text("192.0.2.43", ClientScheme::Http, "example.com"),
            "for=192.0.2.43;host=example.com;proto=http"
        );
        assert_eq!(
            text("2001:db8:cafe::17", ClientScheme::Https, "example.com:8443"),
            r#"for="[2001:db8:cafe::17]";host="example.com:8443";proto=https"#
        );
        assert_eq!(
            text("192.0.2.43", ClientScheme::Http, "[::1]:80"),
            r#"for=192.0.2.43;host="[::1]:80";proto=http"#
        );
    }

    #[test]
    fn without_an_address_nothing_is_invented() {
        assert_eq!(text("", ClientScheme::Http, "a"), "host=a;proto=http");
        assert_eq!(element(None, ClientScheme::Https, None), b"proto=https");
    }

    #[test]
    fn a_host_that_is_none_is_left_out() {
        for host in [
            "",
            "x, for=6.6.6.6",
            "x;for=6.6.6.6",
            "a\"b",
            "a\\b",
            "a b",
            "a\tb",
            "a/b",
            "a@b",
        ] {
            assert_eq!(text("", ClientScheme::Http, host), "proto=http", "{host:?}");
        }
        let host = HeaderValue::from_bytes(b"ex\xe4mple").unwrap();
        assert_eq!(
            element(None, ClientScheme::Http, Some(&host)),
            b"proto=http"
        );
    }

    #[test]
    fn lines_are_merged_and_empty_ones_dropped() {
        assert_eq!(appended(&[]), "proto=http");
        assert_eq!(
            appended(&["for=a;x=\"1,2\"", " ", "for=b"]),
            "for=a;x=\"1,2\", for=b, proto=http"
        );
    }

    #[test]
    fn an_open_quote_cannot_swallow_the_new_element() {
        for open in ["for=\"6.6.6.6", "for=\"\\\"", "for=a\""] {
            assert_eq!(appended(&["for=a", open]), "proto=http", "{open}");
        }
    }

    proptest! {
        #[test]
        fn a_pair_reads_back_as_written(values in proptest::collection::vec(any::<Vec<u8>>(), 1..5)) {
            let mut element = Vec::new();
            for value in &values {
                push_pair(&mut element, b"x", value);
            }
            let expected: Pairs = values.into_iter().map(|value| ("x".to_owned(), value)).collect();
            prop_assert_eq!(parse(&element), Some(vec![expected]));
        }

        #[test]
        fn an_element_reads_back_as_written(peer: Option<IpAddr>, host in "[a-z.:\\[\\]0-9]{1,20}") {
            let value = HeaderValue::try_from(host.as_str()).unwrap();
            let element = element(peer, ClientScheme::Https, Some(&value));
            let read = parse(&element).unwrap();
            prop_assert_eq!(read.len(), 1);
            let mut expected = Pairs::new();
            if let Some(peer) = peer {
                expected.push(("for".to_owned(), node(peer).into_bytes()));
            }
            expected.push(("host".to_owned(), host.into_bytes()));
            expected.push(("proto".to_owned(), b"https".to_vec()));
            prop_assert_eq!(&read[0], &expected);
        }

        #[test]
        fn the_new_element_is_last_even_for_readers_that_know_no_quotes(
            prior in proptest::collection::vec("[ -~]{0,24}", 0..3),
            host in "[ -~]{0,24}",
        ) {
            let mut headers = HeaderMap::new();
            for line in &prior {
                headers.append(FORWARDED, HeaderValue::try_from(line.as_str()).unwrap());
            }
            let host = HeaderValue::try_from(host).unwrap();
            let element = element(Some([192, 0, 2, 1].into()), ClientScheme::Http, Some(&host));
            let line = with_element(&headers, &element);
            let line = line.as_slice();
            prop_assert_eq!(quoted::split_at_commas(line).last().map(<[u8]>::trim_ascii), Some(&*element));
            let naive = line.split(|byte| *byte == b',').next_back();
            prop_assert_eq!(naive.map(<[u8]>::trim_ascii), Some(&*element));
        }
    }
}
