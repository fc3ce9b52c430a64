//! A single pass over a path that finds whether it is ambiguous.

use super::fold::may_begin_foldable;
use crate::http::head::escape::split_escape;

/// Result of the scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathClass {
    /// The path is its own and only reading.
    Plain,
    /// The path has one reading, which differs from its bytes: ordinary escapes, `//`.
    Clear,
    /// The path may have several readings.
    Ambiguous,
}

/// Scans a path that begins with `/`.
pub(super) fn ambiguity(path: &str) -> PathClass {
    if path.starts_with("//") {
        return PathClass::Ambiguous;
    }
    let mut ambiguity = PathClass::Plain;
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let found = match (first, tail.first()) {
            (b'\\' | b';' | b' ', _) => PathClass::Ambiguous,
            // `.`, `..`, and the names whose last dots Windows drops.
            (b'.' | b'+', None | Some(b'/')) => PathClass::Ambiguous,
            (b'/', Some(b'/')) => PathClass::Clear,
            (b'%', _) => escape_ambiguity(rest),
            (byte, _) if may_begin_foldable(*byte) => PathClass::Ambiguous,
            _ => PathClass::Plain,
        };
        ambiguity = ambiguity.max(found);
        if ambiguity == PathClass::Ambiguous {
            break;
        }
        rest = tail;
    }
    ambiguity
}

fn escape_ambiguity(text: &[u8]) -> PathClass {
    match split_escape(text) {
        Some((b'/' | b'\\' | b'.' | b';' | b'%' | b'?' | b'#' | b' ' | b'+', _)) => {
            PathClass::Ambiguous
        }
        Some((0x21..=0x7E, _)) => PathClass::Clear,
        // Control bytes, bytes that may hide others, and malformed escapes.
        _ => PathClass::Ambiguous,
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
            assert_eq!(ambiguity(path), PathClass::Plain, "{path}");
        }
    }

    #[test]
    fn ordinary_escapes_and_empty_segments_are_clear() {
        for path in ["/%77s", "/a%7Eb", "/a//", "/a//b//"] {
            assert_eq!(ambiguity(path), PathClass::Clear, "{path}");
        }
    }

    #[test]
    fn paths_on_which_servers_disagree_are_ambiguous() {
        for path in [
            "/..",
            "/../a",
            "/a/.",
            "/a./b",
            "/a+/b",
            "/..%2B",
            "/a\\b",
            "/a;b",
            "/%2e",
            "/%2F",
            "/%5c",
            "/%3b",
            "/%25",
            "/%3f",
            "/%23",
            "/%20",
            "/%00",
            "/%0a",
            "/%7f",
            "/%C3%A9",
            "/%",
            "/%zz",
            "//a",
            "//%77/..",
            "/\u{ff0f}",
        ] {
            assert_eq!(ambiguity(path), PathClass::Ambiguous, "{path}");
        }
    }
}
