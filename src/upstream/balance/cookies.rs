//! Parser of `Cookie` headers.

use http::{HeaderMap, header::COOKIE};

/// Returns the values of the cookies with this name, in the order in which they were sent.
///
/// A client may send several: for different paths or domains, the more specific ones first (RFC
/// 6265 §5.4). Over HTTP/2 they may be spread over several lines (RFC 9113 §8.2.3). Names are
/// case-sensitive; a value is the text between `=` and `;`, without surrounding white space but
/// with its quotes (§5.2).
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(move |pair| {
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            let (found, value) = pair.split_at_checked(equals)?;
            (found.trim_ascii() == name.as_bytes()).then_some(value)
        })
        .filter_map(|value| Some(value.split_first()?.1.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&[u8]], name: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        values(&headers, name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    #[test]
    fn cookies_are_found_by_their_whole_name_rfc6265_5_4() {
        let line: &[&[u8]] = &[b"aa=1; a=2; A=3; ba=4; b=a=5"];
        assert_eq!(read(line, "a"), ["2"]);
        assert_eq!(read(line, "b"), ["a=5"]);
        assert!(read(line, "c").is_empty() && read(&[], "a").is_empty());
    }

    #[test]
    fn all_of_a_name_are_given_over_all_lines_rfc9113_8_2_3() {
        assert_eq!(read(&[b"a=1; a=2", b"x=y", b"a=3"], "a"), ["1", "2", "3"]);
    }

    #[test]
    fn white_space_is_cut_off_and_quotes_stay() {
        assert_eq!(read(&[b" a =  1\t;\ta=\"2\" "], "a"), ["1", "\"2\""]);
    }

    #[test]
    fn malformed_pairs_are_skipped() {
        assert_eq!(read(&[b"a; ;;=; =x; a=; a=1"], "a"), ["", "1"]);
        assert_eq!(read(&[b"a=\xFF"], "a"), ["\u{FFFD}"]);
    }

    proptest! {
        #[test]
        fn written_cookies_are_read(
            pairs in proptest::collection::vec(("[a-c]{1,2}", "[!#-:<-~]{0,9}"), 0..9),
            cut in 0..9_usize,
        ) {
            let (one, other) = pairs.split_at(cut.min(pairs.len()));
            let line = |pairs: &[(String, String)]| {
                let pairs: Vec<_> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
                pairs.join("; ")
            };
            let wanted = pairs.iter().filter(|(k, _)| k == "a").map(|(_, v)| v.clone());
            let lines = [line(one), line(other)];
            let found = read(&[lines[0].as_bytes(), lines[1].as_bytes()], "a");
            prop_assert_eq!(found, wanted.collect::<Vec<_>>());
        }

        #[test]
        fn no_line_is_too_strange(line in "[ab=; \t\"\\x80-\\xFF]{0,40}", name in "[ab]{0,2}") {
            for value in read(&[line.as_bytes()], &name) {
                prop_assert!(!value.contains(';'));
                prop_assert!(line.contains(&value));
            }
        }
    }
}
