//! Expectations of a probe about the bytes of a response.

use std::fmt;

/// Expectation about the bytes of a response.
pub(super) trait Expect: fmt::Debug + Send + Sync {
    fn accepts(&self, response: &[u8]) -> bool;
}

/// Expectation of exactly these bytes.
#[derive(Debug)]
pub(super) struct Exactly(pub(super) Box<[u8]>);

/// Expectation that the response contains these bytes.
#[derive(Debug)]
pub(super) struct Containing(pub(super) Box<[u8]>);

impl Expect for Exactly {
    fn accepts(&self, response: &[u8]) -> bool {
        *response == *self.0
    }
}

impl Expect for Containing {
    fn accepts(&self, response: &[u8]) -> bool {
        let expected = &*self.0;
        expected.is_empty()
            || response
                .windows(expected.len())
                .any(|part| part == expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_at_any_position() {
        let containing = |part: &str| Containing(part.as_bytes().into());
        for part in ["", "{", "ok", "k}", "{ok}"] {
            assert!(containing(part).accepts(b"{ok}"), "{part}");
        }
        assert!(!containing("ko").accepts(b"{ok}"));
        assert!(!containing("long").accepts(b"l"));
        assert!(!containing("x").accepts(b""));
    }

    #[test]
    fn exactly_is_exactly() {
        let pong = Exactly(b"pong"[..].into());
        assert!(pong.accepts(b"pong"));
        assert!(!pong.accepts(b"pongs"));
    }
}
