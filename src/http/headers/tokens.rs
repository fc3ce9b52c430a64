//! Comma-separated header lists.
//!
//! A list may be spread over several lines of the same name and still is one list (RFC 9110 §5.3),
//! so every function reads all lines. Members are compared whole, never as substrings:
//! `not-upgrade` does not contain the token `upgrade`.

use http::header::SEC_WEBSOCKET_EXTENSIONS;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::quoted;

/// Returns the members of the list `name`, over all of its lines, in order.
///
/// RFC 9110 §5.6.1.2: empty members are ignored and the white space around members does not belong
/// to them. Commas split even inside quotes; lists whose members may be quoted need their own
/// reader, such as [`extension_names`].
pub(crate) fn members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        // OWS is space and tab; a `HeaderValue` cannot hold the other white space that `trim_ascii`
        // removes.
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// Returns the value of a header that may occur only once; `None` if it is missing or repeated.
pub(crate) fn only_line<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => Some(line),
        _ => None,
    }
}

/// Returns whether the list `name` has the member `token`, in any ASCII case.
pub(crate) fn contains_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    members(headers, name).any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
}

/// Returns the names in `Sec-WebSocket-Extensions`, over all of its lines, in order.
///
/// RFC 6455 §9.1: parameters follow the name after `;` and may be quoted, with commas inside. A
/// member with parameters but without a name yields the empty name, so that a comparison with the
/// offer notices it.
pub(crate) fn extension_names(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(SEC_WEBSOCKET_EXTENSIONS)
        .iter()
        .flat_map(|line| quoted::split_at_commas(line.as_bytes()))
        .filter(|member| !member.trim_ascii().is_empty())
        .filter_map(|member| member.split(|byte| *byte == b';').next())
        .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{CONNECTION, UPGRADE};
    use proptest::prelude::*;

    use super::*;

    fn lines(name: &HeaderName, lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_bytes(line).unwrap());
        }
        headers
    }

    fn listed(headers: &HeaderMap) -> Vec<&[u8]> {
        members(headers, &CONNECTION).collect()
    }

    fn extensions(headers: &HeaderMap) -> Vec<&[u8]> {
        extension_names(headers).collect()
    }

    #[test]
    fn repeated_lines_are_one_list_rfc9110_5_3() {
        let headers = lines(&CONNECTION, &[b"keep-alive", b"foo, Upgrade"]);
        assert_eq!(
            listed(&headers),
            [b"keep-alive".as_slice(), b"foo", b"Upgrade"]
        );
        assert!(contains_token(&headers, &CONNECTION, "upgrade"));
    }

    #[test]
    fn a_repeated_line_is_not_the_only_one() {
        let one = lines(&UPGRADE, &[b"a, b"]);
        assert_eq!(only_line(&one, &UPGRADE), one.get(UPGRADE));
        assert!(only_line(&one, &UPGRADE).is_some());
        assert_eq!(only_line(&one, &CONNECTION), None);
        assert_eq!(only_line(&lines(&UPGRADE, &[b"a", b"a"]), &UPGRADE), None);
    }

    #[test]
    fn empty_members_are_ignored_rfc9110_5_6_1() {
        let headers = lines(&CONNECTION, &[b", a ,, \t ,b,", b"", b" , "]);
        assert_eq!(listed(&headers), [b"a".as_slice(), b"b"]);
    }

    #[test]
    fn a_list_reads_backwards_too() {
        let headers = lines(&CONNECTION, &[b"a, b", b"c"]);
        let backwards: Vec<_> = members(&headers, &CONNECTION).rev().collect();
        assert_eq!(backwards, [b"c".as_slice(), b"b", b"a"]);
    }

    #[test]
    fn a_substring_is_not_a_member() {
        for value in [
            "not-upgrade",
            "upgrades",
            "upgrade foo",
            "\"upgrade\"",
            "up,grade",
        ] {
            let headers = lines(&CONNECTION, &[value.as_bytes()]);
            assert!(!contains_token(&headers, &CONNECTION, "upgrade"), "{value}");
        }
    }

    #[test]
    fn tokens_are_compared_without_case() {
        let headers = lines(&UPGRADE, &[b"h2c , WebSocket"]);
        assert!(contains_token(&headers, &UPGRADE, "websocket"));
        assert!(!contains_token(&headers, &CONNECTION, "websocket"));
    }

    #[test]
    fn bytes_beyond_ascii_do_not_hide_the_other_members() {
        let headers = lines(&CONNECTION, &[b"\xff\xfe, upgrade"]);
        assert!(contains_token(&headers, &CONNECTION, "upgrade"));
    }

    #[test]
    fn extension_names_end_at_their_parameters_rfc6455_9_1() {
        let headers = lines(
            &SEC_WEBSOCKET_EXTENSIONS,
            &[
                b"permessage-deflate; client_max_window_bits, a;b=c",
                b" , x-last ;y",
            ],
        );
        assert_eq!(
            extensions(&headers),
            [b"permessage-deflate".as_slice(), b"a", b"x-last"]
        );
    }

    #[test]
    fn a_quoted_comma_starts_no_extension() {
        let headers = lines(&SEC_WEBSOCKET_EXTENSIONS, &[br#"a; p="1, b; \", c", d"#]);
        assert_eq!(extensions(&headers), [b"a".as_slice(), b"d"]);
    }

    #[test]
    fn parameters_without_a_name_yield_the_empty_name() {
        let headers = lines(&SEC_WEBSOCKET_EXTENSIONS, &[b"; x=1"]);
        assert_eq!(extensions(&headers), [b""]);
    }

    /// Bytes that a header value can hold.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            Just(b','),
            Just(b' '),
            Just(b'\t'),
            Just(b'"'),
            32..127u8,
            128..=255u8
        ];
        proptest::collection::vec(byte, 0..40)
    }

    proptest! {
        #[test]
        fn members_are_trimmed_not_empty_and_free_of_commas(values in proptest::collection::vec(value(), 0..4)) {
            let slices: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            let headers = lines(&CONNECTION, &slices);
            for member in members(&headers, &CONNECTION) {
                prop_assert!(!member.is_empty());
                prop_assert!(!member.contains(&b','));
                prop_assert_eq!(member, member.trim_ascii());
            }
        }

        #[test]
        fn a_list_reads_the_same_however_it_is_cut_into_lines(
            words in proptest::collection::vec("[!-+.-~]{1,8}", 1..8),
            cuts in proptest::collection::vec(any::<bool>(), 8),
        ) {
            let mut cut = vec![String::new()];
            for (word, new_line) in words.iter().zip(&cuts) {
                if *new_line {
                    cut.push(String::new());
                }
                let line = cut.last_mut().unwrap();
                line.push_str(" ,");
                line.push_str(word);
            }
            let slices: Vec<&[u8]> = cut.iter().map(String::as_bytes).collect();
            let headers = lines(&CONNECTION, &slices);
            let expected: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
            prop_assert_eq!(listed(&headers), expected);
            for word in &words {
                prop_assert!(contains_token(&headers, &CONNECTION, &word.to_ascii_uppercase()));
            }
        }

        #[test]
        fn extension_names_survive_any_quoted_parameter(
            offers in proptest::collection::vec(("[a-z-]{1,12}", proptest::option::of(value())), 0..5),
        ) {
            let mut line = Vec::new();
            for (name, parameter) in &offers {
                line.extend_from_slice(b", ");
                line.extend_from_slice(name.as_bytes());
                if let Some(parameter) = parameter {
                    line.extend_from_slice(b" ; p=");
                    quoted::push(&mut line, parameter);
                }
            }
            let headers = lines(&SEC_WEBSOCKET_EXTENSIONS, &[&line]);
            let expected: Vec<&[u8]> = offers.iter().map(|(name, _)| name.as_bytes()).collect();
            prop_assert_eq!(extensions(&headers), expected);
        }
    }
}
