//! A path in pieces, with its escapes kept.

use super::readings::comparable;

/// The raw segments of a path after its dot segments, plain or escaped, are resolved and
/// `//` is merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawPath<'a> {
    segments: Vec<&'a str>,
    /// Whether a `/` follows the last segment.
    is_open: bool,
}

impl<'a> RawPath<'a> {
    /// Splits and resolves; `None` for what does not begin with `/`.
    pub(crate) fn resolve(raw: &'a str) -> Option<Self> {
        let mut segments = Vec::new();
        let mut is_open = false;
        for segment in raw.strip_prefix('/')?.split('/') {
            is_open = true;
            match comparable(segment).as_ref() {
                "" | "." => {}
                ".." => {
                    segments.pop();
                }
                _ => {
                    segments.push(segment);
                    is_open = false;
                }
            }
        }
        Some(Self { segments, is_open })
    }

    /// Takes `prefix` off when its segments, decoded, are the first ones of this path.
    pub(crate) fn strip_prefix(&mut self, prefix: &RawPath<'_>) {
        let carries = self.segments.len() >= prefix.segments.len()
            && (self.segments.iter().zip(&prefix.segments))
                .all(|(own, wanted)| comparable(own) == comparable(wanted));
        if carries {
            self.segments.drain(..prefix.segments.len());
        }
    }

    /// Puts `prefix` in front.
    pub(crate) fn add_prefix(&mut self, prefix: &RawPath<'a>) {
        self.segments.splice(..0, prefix.segments.iter().copied());
    }

    /// The pieces put together again.
    pub(crate) fn to_path(&self) -> String {
        let mut path = String::new();
        for segment in &self.segments {
            path.push('/');
            path.push_str(segment);
        }
        if self.is_open || path.is_empty() {
            path.push('/');
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(raw: &str) -> String {
        RawPath::resolve(raw).unwrap().to_path()
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
        assert_eq!(RawPath::resolve("*"), None);
        assert_eq!(RawPath::resolve(""), None);
    }

    #[test]
    fn a_prefix_is_whole_segments_decoded() {
        for (raw, wanted) in [
            ("/ws/x/", "/x/"),
            ("/ws", "/"),
            ("/ws/", "/"),
            ("/%77s/%78", "/%78"),
            ("/wsx", "/wsx"),
            ("/x/ws", "/x/ws"),
            ("/", "/"),
            ("/WS/x", "/WS/x"),
        ] {
            let mut path = RawPath::resolve(raw).unwrap();
            path.strip_prefix(&RawPath::resolve("/ws/").unwrap());
            assert_eq!(path.to_path(), wanted, "{raw}");
        }
    }
}
