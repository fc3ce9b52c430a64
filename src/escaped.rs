//! Text for the logs in which nothing that a peer sent is a control character.

use std::fmt;

/// Text for a log, escaped where a reader or a terminal could misunderstand it.
///
/// Visible ASCII without quotes and backslashes is written as it is. Any other text is written in
/// double quotes, with quotes, backslashes, control characters (C0 and C1) and invisible ones, such
/// as those that change the direction of text, as escapes. So no path, host, reason or error
/// message ends its line, forges a further field, or controls a terminal.
///
/// Every value in the logs that a peer may have had a part in is wrapped in this type, errors above
/// all.
#[derive(Clone, Copy)]
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        if !text.is_empty() && text.bytes().all(is_plain) {
            f.write_str(&text)
        } else {
            fmt::Debug::fmt(text.as_str(), f)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn visible_ascii_stays_and_the_rest_is_quoted() {
        for (text, written) in [
            ("/ws/x?a=%20", "/ws/x?a=%20"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("a\" level=ERROR", "\"a\\\" level=ERROR\""),
            ("a\\", "\"a\\\\\""),
            ("a\r\nb", "\"a\\r\\nb\""),
            ("\u{1b}[31m", "\"\\u{1b}[31m\""),
            ("\u{9b}31m\u{7f}", "\"\\u{9b}31m\\u{7f}\""),
            ("\u{202e}\u{2028}", "\"\\u{202e}\\u{2028}\""),
            ("café", "\"café\""),
        ] {
            assert_eq!(Escaped(text).to_string(), written);
        }
    }

    proptest! {
        #[test]
        fn the_text_is_one_visible_value(text in any::<String>()) {
            let written = Escaped(&text).to_string();
            prop_assert!(!written.contains(char::is_control));
            let is_quoted = written.starts_with('"') && written.ends_with('"');
            prop_assert!(is_quoted || !written.contains([' ', '"']));
        }
    }
}
