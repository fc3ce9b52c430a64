//! Percent-escapes (RFC 3986 §2.1).

/// Splits an escape off the front of `text`: the decoded byte, and the rest.
///
/// Returns `None` if `text` does not begin with a well-formed escape.
pub(crate) fn split_escape(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [b'%', high, low, rest @ ..] => Some((hex_digit(*high)? << 4 | hex_digit(*low)?, rest)),
        _ => None,
    }
}

/// Appends `byte` to `text` as an escape, in upper case (RFC 3986 §6.2.2.1).
pub(crate) fn push_escape(text: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push(b'%');
    text.push(DIGITS[usize::from(byte >> 4)]);
    text.push(DIGITS[usize::from(byte & 0x0F)]);
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_is_split_off_in_either_case() {
        assert_eq!(split_escape(b"%2f/x"), Some((b'/', &b"/x"[..])));
        assert_eq!(split_escape(b"%2F"), Some((b'/', &b""[..])));
        assert_eq!(split_escape(b"%fF"), Some((0xFF, &b""[..])));
    }

    #[test]
    fn what_is_no_escape_is_not_split() {
        for text in [
            &b""[..],
            b"%",
            b"%2",
            b"%g0",
            b"%0g",
            b"% 1",
            b"%+1",
            b"x%20",
        ] {
            assert_eq!(split_escape(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_byte_survives_being_escaped() {
        for byte in 0..=u8::MAX {
            let mut text = Vec::new();
            push_escape(&mut text, byte);
            assert_eq!(split_escape(&text), Some((byte, &b""[..])));
        }
    }
}
