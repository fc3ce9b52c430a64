//! The transformations that a hop may apply to a path before it reads it.
//!
//! Input and output of every step begin with `/`.

use std::borrow::Cow;

use super::fold::fold_to_ascii;
use crate::http::head::escape::{push_escape, split_escape};

/// A transformation that some server, framework or file system applies to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Decodes escapes within the given reach.
    Decode(Reach),
    /// Resolves dot segments.
    Resolve(Empties),
    /// Takes `\` for `/`, as Windows and URL parsers for browsers do.
    TurnBackslashes,
    /// Cuts `;name=value` from segments, as servlet containers do.
    CutParameters,
    /// Drops dots and spaces at the end of a segment, as Windows does, and `+`, which form decoders
    /// take for a space before.
    TrimSegments,
    /// Ends the path at a decoded `?` or `#`, as servers do that decode a target before they parse
    /// it.
    CutQuery,
    /// Takes full-width forms and look-alikes for ASCII characters.
    FoldToAscii,
    /// Takes the name after `//` at the start for a host (RFC 3986 §4.2), as programs do that resolve
    /// the target against a base URL: `new URL(request.url, base)`.
    DropAuthority,
}

/// The set of bytes that one pass of percent-decoding decodes.
///
/// Control bytes, and bytes that do not form UTF-8, stay escaped at every reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// All but `/`, `\` and `%`. A `%` that begins no escape becomes `%25`, so that in the result a
    /// `%` always begins one, and decoding it again changes nothing.
    Unmistakable,
    /// All but `/`.
    WithinSegments,
    /// All bytes.
    Everything,
}

/// The treatment of empty segments when dot segments are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Empties {
    /// `//` becomes `/` first, as nginx, Go and POSIX do.
    Merge,
    /// `..` removes an empty segment like any other (RFC 3986 §5.2.4 to the letter).
    Keep,
}

impl Step {
    pub(super) const ALL: [Step; 11] = [
        Step::Decode(Reach::Unmistakable),
        Step::Decode(Reach::WithinSegments),
        Step::Decode(Reach::Everything),
        Step::Resolve(Empties::Merge),
        Step::Resolve(Empties::Keep),
        Step::TurnBackslashes,
        Step::CutParameters,
        Step::TrimSegments,
        Step::CutQuery,
        Step::FoldToAscii,
        Step::DropAuthority,
    ];

    /// Returns the path after this step, borrowed if the step changes nothing.
    pub(super) fn apply(self, path: &str) -> Cow<'_, str> {
        match self {
            Step::Decode(reach) => decode(path, reach),
            Step::Resolve(empties) => resolve(path, empties),
            Step::TurnBackslashes if path.contains('\\') => path.replace('\\', "/").into(),
            Step::CutParameters if path.contains(';') => each_segment(path, cut_parameters),
            Step::TrimSegments if has_trimmable_segment(path) => each_segment(path, trim_segment),
            Step::CutQuery => Cow::Borrowed(path.split(['?', '#']).next().unwrap_or(path)),
            Step::FoldToAscii => fold_to_ascii(path),
            Step::DropAuthority => drop_authority(path),
            Step::TurnBackslashes | Step::CutParameters | Step::TrimSegments => path.into(),
        }
    }
}

impl Reach {
    fn covers(self, byte: u8) -> bool {
        match (self, byte) {
            (_, byte) if byte.is_ascii_control() => false,
            (Reach::Unmistakable, b'/' | b'\\' | b'%') => false,
            (Reach::WithinSegments, b'/') => false,
            _ => true,
        }
    }
}

/// Performs one pass of percent-decoding.
pub(super) fn decode(text: &str, reach: Reach) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match split_escape(rest) {
            Some((byte, tail)) if reach.covers(byte) => {
                decoded.push(byte);
                tail
            }
            Some((byte, tail)) => {
                push_escape(&mut decoded, byte);
                tail
            }
            None if *first == b'%' && reach == Reach::Unmistakable => {
                push_escape(&mut decoded, b'%');
                tail
            }
            None => {
                decoded.push(*first);
                tail
            }
        };
    }
    Cow::Owned(escape_what_is_not_utf8(decoded))
}

/// Merges `//` into `/`.
pub(super) fn merge_slashes(path: &str) -> Cow<'_, str> {
    if !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut merged = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    Cow::Owned(merged)
}

/// Resolves dot segments (RFC 3986 §5.2.4) over whole segments. A dot segment at the end leaves a
/// `/`, and `..` at the root is the root.
pub(super) fn resolve(path: &str, empties: Empties) -> Cow<'_, str> {
    let has_work = |segment| matches!(segment, "." | "..") || segment.is_empty();
    if !path.split('/').skip(1).any(has_work) {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            "" if empties == Empties::Merge && !is_last => {}
            segment => kept.push(segment),
        }
    }
    Cow::Owned(format!("/{}", kept.join("/")))
}

/// Returns whether `path` hides a byte on which decoders disagree: an escaped control byte, since C
/// strings end at NUL and URL parsers drop tab, LF and CR (WHATWG URL, "basic URL parser"), an
/// overlong form such as `%C0%AE` for `.` (RFC 3629 §3 forbids them), or an escape of the form
/// `%u002E`, which IIS decodes.
pub(super) fn hides_bytes(path: &str) -> bool {
    let mut rest = path.as_bytes();
    while let [_, tail @ ..] = rest {
        let Some((byte, after)) = split_escape(rest) else {
            if is_unicode_escape(rest) {
                return true;
            }
            rest = tail;
            continue;
        };
        let next = split_escape(after).map(|(next, _)| next);
        match (byte, next) {
            (0..=0x1F | 0x7F, _) => return true,
            (0xC0 | 0xC1, Some(0x80..=0xBF)) => return true,
            (0xE0, Some(0x80..=0x9F)) | (0xF0, Some(0x80..=0x8F)) => return true,
            _ => rest = after,
        }
    }
    false
}

/// Drops the host from a path that begins with `//`. More slashes change nothing for the parsers of
/// browsers (WHATWG URL, "special authority ignore slashes state").
fn drop_authority(path: &str) -> Cow<'_, str> {
    let Some(authority) = path.strip_prefix("//") else {
        return Cow::Borrowed(path);
    };
    let authority = authority.trim_start_matches('/');
    let rest = authority.find('/').and_then(|end| authority.get(end..));
    Cow::Borrowed(rest.unwrap_or("/"))
}

fn is_unicode_escape(text: &[u8]) -> bool {
    match text {
        [b'%', b'u' | b'U', digits @ ..] => {
            let digits = digits.get(..4);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        }
        _ => false,
    }
}

fn escape_what_is_not_utf8(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|broken| {
        let mut text = String::new();
        for chunk in broken.as_bytes().utf8_chunks() {
            text.push_str(chunk.valid());
            for byte in chunk.invalid() {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
        text
    })
}

fn each_segment(path: &str, change: fn(&str) -> &str) -> Cow<'_, str> {
    let segments: Vec<&str> = path.split('/').map(change).collect();
    Cow::Owned(segments.join("/"))
}

fn cut_parameters(segment: &str) -> &str {
    segment.split(';').next().unwrap_or(segment)
}

fn has_trimmable_segment(path: &str) -> bool {
    path.split('/')
        .any(|segment| trim_segment(segment) != segment)
}

/// Trims a segment: `x. .` becomes `x`, and `.. ` becomes `..`.
fn trim_segment(segment: &str) -> &str {
    match segment.trim_end_matches(['.', ' ', '+']) {
        "" => segment.trim_end_matches([' ', '+']),
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(step: Step, rows: &[(&str, &str)]) {
        for (path, wanted) in rows {
            assert_eq!(step.apply(path), *wanted, "{step:?} of {path:?}");
        }
    }

    #[test]
    fn decoding_leaves_alone_what_can_be_mistaken() {
        check(
            Step::Decode(Reach::Unmistakable),
            &[
                ("/%77s/caf%c3%a9%2E%3b%3f", "/ws/café.;?"),
                ("/a%2fb%5cc%25d", "/a%2Fb%5Cc%25d"),
                ("/%00%0a%7f", "/%00%0A%7F"),
                ("/%ff%C3/%c3%28", "/%FF%C3/%C3("),
                ("/%/%4/%zz/%%41", "/%25/%254/%25zz/%25A"),
                ("/%252e", "/%252e"),
            ],
        );
    }

    #[test]
    fn decoding_goes_as_far_as_it_is_told() {
        check(
            Step::Decode(Reach::WithinSegments),
            &[("/a%2fb%5cc%252e", "/a%2Fb\\c%2e"), ("/%zz%0a", "/%zz%0A")],
        );
        check(
            Step::Decode(Reach::Everything),
            &[
                ("/a%2fb%5cc%252e", "/a/b\\c%2e"),
                ("/%zz%0a%ff", "/%zz%0A%FF"),
            ],
        );
    }

    #[test]
    fn dot_segments_are_resolved_as_rfc_3986_section_5_2_4_has_it() {
        for empties in [Empties::Merge, Empties::Keep] {
            check(
                Step::Resolve(empties),
                &[
                    ("/a/b/c/./../../g", "/a/g"),
                    ("/a/..", "/"),
                    ("/a/.", "/a/"),
                    ("/a/b/..", "/a/"),
                    ("/../../a", "/a"),
                    ("/..", "/"),
                    ("/.../..a/a../.a", "/.../..a/a../.a"),
                    ("/", "/"),
                ],
            );
        }
        check(
            Step::Resolve(Empties::Merge),
            &[("/a//../b/", "/b/"), ("//a///", "/a/")],
        );
        check(
            Step::Resolve(Empties::Keep),
            &[("/a//../b/", "/a/b/"), ("//a///", "//a///")],
        );
    }

    #[test]
    fn the_smaller_steps_do_what_they_say() {
        check(
            Step::TurnBackslashes,
            &[("/a\\..\\b", "/a/../b"), ("/a", "/a")],
        );
        check(
            Step::CutParameters,
            &[("/..;x=1/b;/;c/d", "/../b//d"), ("/a", "/a")],
        );
        check(
            Step::TrimSegments,
            &[
                ("/a./b. ./.. /. /./../ /", "/a/b/../././..//"),
                ("/.a/b.c", "/.a/b.c"),
            ],
        );
        check(
            Step::CutQuery,
            &[("/a?b/../c", "/a"), ("/a#b?c", "/a"), ("/a", "/a")],
        );
        check(
            Step::DropAuthority,
            &[
                ("//host/a/b", "/a/b"),
                ("////host//a", "//a"),
                ("//host", "/"),
                ("//", "/"),
                ("/a//b", "/a//b"),
            ],
        );
    }

    #[test]
    fn slashes_are_merged_wherever_they_are() {
        for (path, wanted) in [("//a///b/c//", "/a/b/c/"), ("/a/b", "/a/b"), ("//", "/")] {
            assert_eq!(merge_slashes(path), wanted, "{path}");
        }
    }

    #[test]
    fn hidden_bytes_are_seen() {
        for path in [
            "/%00",
            "/ws/.%09./x",
            "/%0a",
            "/%0D",
            "/%1f",
            "/%7F",
            "/a%C0%AE",
            "/%c1%9c",
            "/%E0%80%AE",
            "/%f0%80%80%af",
            "/%u002e",
            "/a%U002F",
        ] {
            assert!(hides_bytes(path), "{path}");
        }
        for path in [
            "/",
            "/%",
            "/%20",
            "/%C0",
            "/%C0x",
            "/caf%E9",
            "/%E0%A0%80",
            "/%2500",
            "/%u00",
            "/%u002x",
        ] {
            assert!(!hides_bytes(path), "{path}");
        }
    }
}
