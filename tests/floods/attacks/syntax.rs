//! Lines that parsers end or split in different places.

use super::kit::Arena;
use crate::{alone, support::raw::KEY};

/// Expects that no header of this text reaches the upstream: the request is rejected, or the text
/// stays the value of its own header.
async fn expect_no_second_line(arena: &Arena, head: &str) {
    for handshake in [false, true] {
        let upgrade = if handshake {
            format!(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: {KEY}\r\n"
            )
        } else {
            String::new()
        };
        let before = arena.reached().len();
        let bytes = head.replace("\r\n\r\n", &format!("\r\n{upgrade}\r\n"));
        arena.status(bytes).await;
        for head in arena.upstream.log().heads.split_off(before) {
            assert_eq!(head.get("x-injected"), None, "{head:?}");
            assert_eq!(head.target(), "/ws/x");
        }
    }
}

#[test]
fn crlf_and_nul_in_values_and_targets_inject_nothing() {
    alone(async {
        let arena = Arena::start().await;
        for head in [
            "GET /ws/x HTTP/1.1\r\nHost: app.test\r\nX: a\rX-Injected: 1\r\n\r\n",
            "GET /ws/x HTTP/1.1\r\nHost: app.test\r\nX: a\0X-Injected: 1\r\n\r\n",
            "GET /ws/x HTTP/1.1\r\nHost: app.test\0\r\n\r\n",
            "GET /ws/x\r HTTP/1.1\r\nHost: app.test\r\n\r\n",
            "GET /ws/x\0 HTTP/1.1\r\nHost: app.test\r\n\r\n",
            "GET /ws/x HTTP/1.1 X-Injected: 1\r\nHost: app.test\r\n\r\n",
            "GET /ws/x?\u{b} HTTP/1.1\r\nHost: app.test\r\n\r\n",
        ] {
            expect_no_second_line(&arena, head).await;
        }
        // Escaped, they are never decoded on the way, and never owned.
        let escaped = "GET /ws/x%0d%0aX-Injected:%201 HTTP/1.1\r\nHost: app.test\r\n\r\n";
        assert_eq!(arena.status(escaped).await, 200);
        assert!(arena.reached().is_empty());
        arena.survived().await;
    });
}

/// A lone LF ends a line for hyper, as RFC 9112 §2.2 permits; what goes upstream has CRLF.
#[test]
fn lone_line_feeds_are_not_passed_on() {
    alone(async {
        let arena = Arena::start().await;
        let head = "GET /ws/x HTTP/1.1\nHost: app.test\nX-One: 1\n\n";
        arena.status(head).await;
        for head in arena.upstream.log().heads {
            let lone = head
                .raw
                .windows(2)
                .any(|two| two[1] == b'\n' && two[0] != b'\r');
            assert!(!lone, "{head:?}");
            assert_eq!(head.get("x-one"), Some("1"));
        }
        arena.survived().await;
    });
}

/// Obsolete line folding (RFC 9112 §5.2).
#[test]
fn folded_lines_inject_nothing() {
    alone(async {
        let arena = Arena::start().await;
        for head in [
            "GET /ws/x HTTP/1.1\r\nHost: app.test\r\nX: a\r\n X-Injected: 1\r\n\r\n",
            "GET /ws/x HTTP/1.1\r\nHost: app.test\r\nX: a\r\n\tX-Injected: 1\r\n\r\n",
            "GET /ws/x HTTP/1.1\r\n X-Injected: 1\r\nHost: app.test\r\n\r\n",
            "GET /ws/x HTTP/1.1\r\nHost:\r\n app.test\r\n\r\n",
        ] {
            expect_no_second_line(&arena, head).await;
        }
        assert!(arena.reached().is_empty());
        arena.survived().await;
    });
}

/// CVE-2019-16276: white space before the colon. CVE-2019-20444: a line without a colon.
#[test]
fn names_that_are_not_tokens_are_rejected() {
    alone(async {
        let arena = Arena::start().await;
        for line in [
            "X-Injected : 1",
            "X-Injected\t: 1",
            " X-Injected: 1",
            "X-Injected",
            "X Injected: 1",
            ": 1",
            "X-(Injected): 1",
            "Transfer-Encoding : chunked",
            "Content-Length : 5",
            "X-Injected\u{fc}: 1",
        ] {
            let head = format!("GET /ws/x HTTP/1.1\r\nHost: app.test\r\n{line}\r\n\r\n");
            assert_eq!(arena.status(head).await, 400, "{line}");
        }
        assert!(arena.reached().is_empty());
        arena.survived().await;
    });
}
