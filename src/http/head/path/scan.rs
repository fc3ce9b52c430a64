//! One look at a path: is there anything to decide at all?

use crate::http::head::escape::split_escape;

/// What a single scan of the bytes tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ambiguity {
    /// Its own and only reading.
    Plain,
    /// One reading, which has to be worked out: ordinary escapes, `//`.
    Clear,
    /// There may be several readings.
    Ambiguous,
}

/// Scans a path that begins with `/`.
pub(super) fn clarity(path: &str) -> Ambiguity {
    let mut clarity = Ambiguity::Plain;
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let found = match (first, tail.first()) {
            (b'\\' | b';' | b' ', _) => Ambiguity::Ambiguous,
            // `.`, `..`, and the names whose last dots Windows drops.
            (b'.', None | Some(b'/')) => Ambiguity::Ambiguous,
            (b'/', Some(b'/')) => Ambiguity::Clear,
            (b'%', _) => escape_clarity(rest),
            _ => Ambiguity::Plain,
        };
        clarity = clarity.max(found);
        if clarity == Ambiguity::Ambiguous {
            break;
        }
        rest = tail;
    }
    clarity
}

fn escape_clarity(text: &[u8]) -> Ambiguity {
    match split_escape(text) {
        Some((b'/' | b'\\' | b'.' | b';' | b'%' | b'?' | b'#' | b' ', _)) => Ambiguity::Ambiguous,
        Some((0x21..=0x7E, _)) => Ambiguity::Clear,
        // Control bytes, bytes that may hide others, and what is no escape.
        _ => Ambiguity::Ambiguous,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_paths_are_plain() {
        for path in [
            "/",
            "/ws",
            "/ws/room-7/x.json",
            "/.well-known/x",
            "/a..b/...c/",
            "/caf\u{e9}",
            "/a:b@c!$&'()*+,=",
        ] {
            assert_eq!(clarity(path), Ambiguity::Plain, "{path}");
        }
    }

    #[test]
    fn ordinary_escapes_and_empty_segments_are_clear() {
        for path in ["/%77s", "/a%7Eb", "//a", "/a//b//"] {
            assert_eq!(clarity(path), Ambiguity::Clear, "{path}");
        }
    }

    #[test]
    fn whatever_servers_disagree_on_is_doubtful() {
        for path in [
            "/..", "/../a", "/a/.", "/a./b", "/a\\b", "/a;b", "/%2e", "/%2F", "/%5c", "/%3b",
            "/%25", "/%3f", "/%23", "/%20", "/%00", "/%0a", "/%7f", "/%C3%A9", "/%", "/%zz",
            "//%77/..",
        ] {
            assert_eq!(clarity(path), Ambiguity::Ambiguous, "{path}");
        }
    }
}
