//! Matching by subprotocol.

use super::traits::Matcher;
use crate::http::head::RequestHead;

/// Matcher for an offered subprotocol; see [`subprotocol`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubprotocolMatcher {
    name: String,
}

/// Matches requests that offer this subprotocol in `Sec-WebSocket-Protocol`, alone or among others
/// and on any line. Names are case-sensitive.
///
/// # Examples
///
/// ```
/// use wsplice::head::RequestHead;
/// use wsplice::matcher::{Matcher, subprotocol};
///
/// let request = http::Request::get("/ws")
///     .header("sec-websocket-protocol", "chat.v2, chat")
///     .body(())?;
/// assert!(subprotocol("chat").matches(&RequestHead::from(&request)));
/// # Ok::<(), http::Error>(())
/// ```
#[must_use]
pub fn subprotocol(name: impl Into<String>) -> SubprotocolMatcher {
    SubprotocolMatcher { name: name.into() }
}

impl Matcher for SubprotocolMatcher {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        request.subprotocols().contains(&self.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use http::header::SEC_WEBSOCKET_PROTOCOL;

    use super::*;
    use crate::http::matcher::testing::matches_lines;

    fn offers(lines: &[&str], name: &str) -> bool {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| (SEC_WEBSOCKET_PROTOCOL, *line))
            .collect();
        matches_lines(&subprotocol(name), &lines)
    }

    #[test]
    fn every_line_is_part_of_the_offer() {
        assert!(offers(&["chat"], "chat"));
        assert!(offers(&["a ,\tchat , b"], "chat"));
        assert!(offers(&["a", "b,,chat"], "chat"));
    }

    #[test]
    fn only_the_whole_name_in_its_case_is_offered() {
        assert!(!offers(
            &["superchat", "chat.v2", "Chat", "chat;q=1"],
            "chat"
        ));
        assert!(!offers(&["a, b"], "a, b"));
        assert!(!offers(&["", ","], "") && !offers(&[], "chat"));
    }
}
