//! Matching of WebSocket requests.

use http::Version;
use http::header::{CONNECTION, UPGRADE};

use super::traits::Matcher;
use crate::http::head::{RequestHead, is_extended_connect};
use crate::http::headers::members;

/// Matcher for WebSocket requests; see [`websocket`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebSocketMatcher;

/// Matches requests that ask for a WebSocket.
///
/// In HTTP/1.1 that is `websocket` in the list `Upgrade` and `upgrade` in the list `Connection`, in
/// any case and on any line (RFC 6455 §4.2.1). The rest of the handshake need not be well-formed: a
/// request that matches and is malformed gets a response with the reason. HTTP/1.0 has no upgrade
/// (RFC 9110 §7.8). In HTTP/2 it is `CONNECT` with the `:protocol` `websocket` (RFC 8441 §4), with
/// the feature `http2`.
///
/// # Examples
///
/// ```
/// use wsplice::head::RequestHead;
/// use wsplice::matcher::{Matcher, websocket};
///
/// let request = http::Request::get("/")
///     .header("connection", "keep-alive, Upgrade")
///     .header("upgrade", "WebSocket")
///     .body(())?;
/// assert!(websocket().matches(&RequestHead::from(&request)));
/// # Ok::<(), http::Error>(())
/// ```
#[must_use]
pub fn websocket() -> WebSocketMatcher {
    WebSocketMatcher
}

impl Matcher for WebSocketMatcher {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        match request.version() {
            Version::HTTP_11 => asks_for_upgrade(request),
            Version::HTTP_2 | Version::HTTP_3 => is_extended_connect(request),
            _ => false,
        }
    }
}

fn asks_for_upgrade(request: &RequestHead<'_>) -> bool {
    let lists = |name, token: &str| {
        members(request.headers(), name).any(|own| own.eq_ignore_ascii_case(token.as_bytes()))
    };
    lists(&UPGRADE, "websocket") && lists(&CONNECTION, "upgrade")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::matcher::testing::matches_lines;

    fn asks(connection: &[&str], upgrade: &[&str]) -> bool {
        let connection = connection.iter().map(|line| (CONNECTION, *line));
        let upgrade = upgrade.iter().map(|line| (UPGRADE, *line));
        matches_lines(&websocket(), &connection.chain(upgrade).collect::<Vec<_>>())
    }

    #[test]
    fn both_lists_are_read_over_all_lines_in_any_case() {
        assert!(asks(&["Upgrade"], &["websocket"]));
        assert!(asks(&["keep-alive, Upgrade"], &["WebSocket"]));
        assert!(asks(&["keep-alive", "UPGRADE"], &["foo, websocket"]));
        assert!(asks(&[" , upgrade\t"], &["foo", "bar,WEBSOCKET"]));
    }

    #[test]
    fn a_part_of_a_token_is_not_the_token() {
        assert!(!asks(&["not-upgrade"], &["websocket"]));
        assert!(!asks(
            &["upgrade"],
            &["websockets", "websocket/13", "web socket"]
        ));
        assert!(!asks(&["upgrade"], &["h2c"]));
    }

    #[test]
    fn one_list_without_the_other_asks_for_nothing() {
        assert!(!asks(&["upgrade"], &[]));
        assert!(!asks(&[], &["websocket"]));
        assert!(!asks(&["close"], &["websocket"]));
        assert!(!asks(&[], &[]));
    }

    #[test]
    fn an_upgrade_exists_in_http_1_1_alone() {
        for version in [
            Version::HTTP_09,
            Version::HTTP_10,
            Version::HTTP_2,
            Version::HTTP_3,
        ] {
            let request = http::Request::get("/")
                .version(version)
                .header(CONNECTION, "upgrade")
                .header(UPGRADE, "websocket")
                .body(())
                .unwrap();
            assert!(
                !websocket().matches(&RequestHead::from(&request)),
                "{version:?}"
            );
        }
    }
}
