//! Text for the logs in which nothing that a peer sent is a control character.

use std::fmt;

/// Text for a log, in double quotes, with quotes, backslashes and control characters as escapes. So no
/// error message ends its line, forges a further field, or controls a terminal.
///
/// Every value in the logs that a peer may have had a part in is wrapped in this type.
#[derive(Clone, Copy)]
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.to_string().as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_quotes_are_escaped() {
        for (text, written) in [
            ("a b", "\"a b\""),
            ("a\" level=ERROR", "\"a\\\" level=ERROR\""),
            ("a\r\nb", "\"a\\r\\nb\""),
            ("\u{1b}[31m\u{9b}31m", "\"\\u{1b}[31m\\u{9b}31m\""),
        ] {
            assert_eq!(Escaped(text).to_string(), written);
        }
    }
}
