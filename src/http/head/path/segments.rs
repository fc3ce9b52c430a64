//! A path in segments, with its escapes kept.

use super::readings::comparable;

/// The raw segments of a path after its dot segments, plain or escaped, are resolved and `//` is
/// merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EncodedSegments<'a> {
    segments: Vec<&'a str>,
    /// Whether a `/` follows the last segment.
    has_trailing_slash: bool,
}

impl<'a> EncodedSegments<'a> {
    /// Splits and resolves a path; `None` if it does not begin with `/`.
    pub(crate) fn resolve(raw: &'a str) -> Option<Self> {
        let mut segments = Vec::new();
        let mut has_trailing_slash = false;
        for segment in raw.strip_prefix('/')?.split('/') {
            has_trailing_slash = true;
            match comparable(segment).as_ref() {
                "" | "." => {}
                ".." => {
                    segments.pop();
                }
                _ => {
                    segments.push(segment);
                    has_trailing_slash = false;
                }
            }
        }
        Some(Self {
            segments,
            has_trailing_slash,
        })
    }

    /// Removes `prefix` if its segments, decoded, are the first ones of this path.
    pub(crate) fn strip_prefix(&mut self, prefix: &EncodedSegments<'_>) {
        let carries = self.segments.len() >= prefix.segments.len()
            && (self.segments.iter().zip(&prefix.segments))
                .all(|(own, wanted)| comparable(own) == comparable(wanted));
        if carries {
            self.segments.drain(..prefix.segments.len());
        }
    }

    /// Inserts `prefix` in front.
    pub(crate) fn add_prefix(&mut self, prefix: &EncodedSegments<'a>) {
        self.segments.splice(..0, prefix.segments.iter().copied());
    }

    /// Joins the segments to a path.
    pub(crate) fn to_path(&self) -> String {
        let mut path = String::new();
        for segment in &self.segments {
            path.push('/');
            path.push_str(segment);
        }
        if self.has_trailing_slash || path.is_empty() {
            path.push('/');
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(raw: &str) -> String {
        EncodedSegments::resolve(raw).unwrap().to_path()
    }

    #[test]
    fn dots_and_empty_segments_go_and_escapes_stay() {
        for (raw, wanted) in [
            ("/", "/"),
            ("//", "/"),
            ("/%77s/./a%2fb", "/%77s/a%2fb"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b/%2e", "/b/"),
            ("//a///b//", "/a/b/"),
            ("/..", "/"),
            ("/a/%252e%252e/b", "/a/%252e%252e/b"),
            ("/%/x", "/%/x"),
        ] {
            assert_eq!(resolved(raw), wanted, "{raw}");
        }
        assert_eq!(EncodedSegments::resolve("*"), None);
        assert_eq!(EncodedSegments::resolve(""), None);
    }

    #[test]
    fn a_prefix_is_whole_segments_decoded() {
        for (raw, without, with) in [
            ("/ws/x/", "/x/", "/%77s/x/"),
            ("/ws", "/", "/%77s"),
            ("/ws/", "/", "/%77s/"),
            ("/%77s/%78", "/%78", "/%77s/%78"),
            ("/wsx", "/wsx", "/%77s/wsx"),
            ("/x/ws", "/x/ws", "/%77s/x/ws"),
            ("/", "/", "/%77s/"),
            ("/WS/x", "/WS/x", "/%77s/WS/x"),
        ] {
            let mut path = EncodedSegments::resolve(raw).unwrap();
            path.strip_prefix(&EncodedSegments::resolve("/ws/").unwrap());
            assert_eq!(path.to_path(), without, "{raw}");
            path.add_prefix(&EncodedSegments::resolve("/%77s").unwrap());
            assert_eq!(path.to_path(), with, "{raw}");
        }
    }
}
