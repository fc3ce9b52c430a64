//! Expectations of a probe about the bytes of a response.

use std::fmt;

/// Expectation about the bytes of a response.
pub(super) trait Expect: fmt::Debug + Send + Sync {
    fn accepts(&self, answer: &[u8]) -> bool;
}

/// Expectation of exactly these bytes.
#[derive(Debug)]
pub(super) struct Exactly(pub(super) Box<[u8]>);

/// Expectation that the response contains these bytes.
#[derive(Debug)]
pub(super) struct Containing(pub(super) Box<[u8]>);

impl Expect for Exactly {
    fn accepts(&self, answer: &[u8]) -> bool {
        *answer == *self.0
    }
}

impl Expect for Containing {
    fn accepts(&self, answer: &[u8]) -> bool {
        let wanted = &*self.0;
        wanted.is_empty() || answer.windows(wanted.len()).any(|part| part == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_wherever_it_stands() {
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
