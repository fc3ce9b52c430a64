//! Quoted-strings inside header values (RFC 9110 §5.6.4).
//!
//! Two headers need them: `Sec-WebSocket-Extensions`, whose parameters may be quoted, and
//! `Forwarded`, whose values often must be. All functions work on bytes, because a header value
//! need not be UTF-8.

/// Position of a scan relative to a quoted-string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quoting {
    Outside,
    Inside,
    /// After a backslash inside: the next byte is taken literally.
    Escaped,
}

impl Quoting {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Outside, b'"') => Self::Inside,
            (Self::Inside, b'"') => Self::Outside,
            (Self::Inside, b'\\') => Self::Escaped,
            (Self::Escaped, _) => Self::Inside,
            (state, _) => state,
        }
    }
}

/// Splits a line at the commas outside quoted-strings.
///
/// An unclosed quote runs to the end of its line.
pub(super) fn split_at_commas(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoting = Quoting::Outside;
    // `split` passes every byte once and in order, so the closure may carry state.
    line.split(move |byte| {
        quoting = quoting.after(*byte);
        *byte == b',' && quoting == Quoting::Outside
    })
}

/// Returns whether every quoted-string of the line is closed, so that appended text cannot end up
/// inside one.
pub(super) fn is_closed(line: &[u8]) -> bool {
    let end = line
        .iter()
        .fold(Quoting::Outside, |at, byte| at.after(*byte));
    end == Quoting::Outside
}

/// Appends `value` as a token if it is one, and as a quoted-string otherwise.
pub(super) fn push(out: &mut Vec<u8>, value: &[u8]) {
    if is_token(value) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for byte in value {
        // RFC 9110 §5.6.4: only these two need a backslash, and no other should get one.
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// Returns whether `value` is a token: one or more `tchar` (RFC 9110 §5.6.2).
pub(super) fn is_token(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|byte| is_tchar(*byte))
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pushed(value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out, value);
        out
    }

    #[test]
    fn a_comma_inside_quotes_does_not_split() {
        let parts: Vec<_> = split_at_commas(br#"a;x="1,2",b"#).collect();
        assert_eq!(parts, [br#"a;x="1,2""#.as_slice(), b"b"]);
    }

    #[test]
    fn an_escaped_quote_does_not_close() {
        let parts: Vec<_> = split_at_commas(br#"a="\",",b"#).collect();
        assert_eq!(parts, [br#"a="\",""#.as_slice(), b"b"]);
        assert!(!is_closed(br#"a="b\""#));
    }

    #[test]
    fn a_backslash_outside_quotes_escapes_nothing() {
        let parts: Vec<_> = split_at_commas(br"a\,b").collect();
        assert_eq!(parts, [br"a\".as_slice(), b"b"]);
    }

    #[test]
    fn an_open_quote_runs_to_the_end_of_the_line() {
        assert_eq!(split_at_commas(br#"a="b,c"#).count(), 1);
        assert!(!is_closed(br#"a="b,c"#));
        assert!(is_closed(br#"a="b,c""#));
    }

    #[test]
    fn tokens_stay_bare_and_the_rest_is_quoted() {
        assert_eq!(pushed(b"example.com"), b"example.com");
        assert_eq!(pushed(b"example.com:80"), br#""example.com:80""#);
        assert_eq!(pushed(br#"a"b\c"#), br#""a\"b\\c""#);
        assert_eq!(pushed(b""), br#""""#);
    }

    proptest! {
        #[test]
        fn splitting_loses_nothing_but_commas(line: Vec<u8>) {
            let parts: Vec<_> = split_at_commas(&line).collect();
            prop_assert_eq!(parts.join(&b','), line);
        }

        #[test]
        fn a_pushed_value_is_closed_and_never_splits(value: Vec<u8>) {
            let text = pushed(&value);
            prop_assert!(is_closed(&text));
            prop_assert_eq!(split_at_commas(&text).count(), 1);
        }
    }
}
