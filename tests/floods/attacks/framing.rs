//! Bodies whose end parsers see in different places.

use super::kit::{Arena, request};
use crate::{alone, support::raw::handshake_request};

const HIDDEN: &str = "GET /ws/hidden HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// CVE-2019-20445 and CVE-2019-18277: a `Transfer-Encoding` beside a length, or disguised.
#[test]
fn transfer_encodings_hide_no_request() {
    alone(async {
        let arena = Arena::start().await;
        for lines in [
            &["Transfer-Encoding: \u{b}chunked", "Content-Length: 5"][..],
            &["Transfer-Encoding: xchunked", "Content-Length: 5"],
            &["Transfer-Encoding: chunked, identity", "Content-Length: 5"],
            &["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
            &["Transfer-Encoding: chunked", "Transfer-Encoding: x"],
            &["Transfer-Encoding: 'chunked'", "Content-Length: 5"],
            &["Transfer-Encoding:", "Content-Length: 5"],
            &["Transfer-Encoding : chunked", "Content-Length: 5"],
            &["X: x\rTransfer-Encoding: chunked", "Content-Length: 5"],
            &["Content-Length: 5", "Content-Length: 6"],
            &["Content-Length: 5, 6"],
            &["Content-Length: +5"],
            &["Content-Length: 0x5"],
            &["Content-Length: -5"],
            &["Content-Length: 5 5"],
            &["Content-Length: 99999999999999999999"],
            &["Content-Length: "],
        ] {
            let bytes = [
                request("POST", "/ws/x", lines),
                format!("0\r\n\r\n{HIDDEN}").into(),
            ]
            .concat();
            let (mut client, head) = arena.attack(bytes).await;
            let status = head.map_or(400, |head| head.status());
            assert!(status == 400 || status == 501, "{lines:?}: {status}");
            // The connection ends with it: nothing behind is read as a request.
            let _ = client.try_read_some().await;
            assert!(
                arena.reached().is_empty(),
                "{lines:?}: {:?}",
                arena.reached()
            );
        }
        arena.survived().await;
    });
}

/// The proxy would remove the chunks and the name of the coding below them (RFC 9112 §6.1).
#[test]
fn a_coding_below_the_chunks_is_not_passed_on() {
    alone(async {
        let arena = Arena::start().await;
        for coding in ["gzip, chunked", "identity, chunked", "chunked, chunked"] {
            let line = format!("Transfer-Encoding: {coding}");
            let bytes = [request("POST", "/ws/x", &[&line]), b"0\r\n\r\n".to_vec()].concat();
            assert_eq!(arena.status(bytes).await, 400, "{coding}");
        }
        assert!(arena.reached().is_empty());
        arena.survived().await;
    });
}

/// RFC 9112 §6.3, item 3: the chunks go before the length, and no length is passed on beside them.
#[test]
fn a_length_beside_chunks_hides_no_request() {
    alone(async {
        let arena = Arena::start().await;
        for lines in [
            ["Content-Length: 4", "Transfer-Encoding: chunked"],
            ["Transfer-Encoding: chunked", "Content-Length: 4"],
            ["Content-Length: 1000", "transfer-encoding: CHUNKED"],
        ] {
            let bytes = [request("POST", "/ws/x", &lines), b"0\r\n\r\n".to_vec()].concat();
            let status = arena.status(bytes).await;
            assert!([200, 400].contains(&status), "{lines:?}: {status}");
            for head in arena.upstream.log().heads {
                assert_eq!(head.get("content-length"), None);
                assert_eq!(head.get("transfer-encoding"), Some("chunked"));
            }
        }
        arena.survived().await;
    });
}

#[test]
fn chunks_that_parsers_read_differently_are_not_passed_on_as_they_came() {
    alone(async {
        let arena = Arena::start().await;
        for chunks in [
            "5;\nxx\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhelloXX0\r\n\r\n",
            "5 \t5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "-5\r\nhello\r\n0\r\n\r\n",
            "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
            "\r\n5\r\nhello\r\n0\r\n\r\n",
        ] {
            let head = request("POST", "/ws/x", &["Transfer-Encoding: chunked"]);
            let (_client, head) = arena.attack([&head[..], chunks.as_bytes()].concat()).await;
            let status = head.map_or(400, |head| head.status());
            assert!([200, 400].contains(&status), "{chunks:?}: {status}");
        }
        // The upstream's script reads chunks strictly, and fails the test by a malformed one.
        assert!(arena.reached().iter().all(|target| target == "/ws/x"));
        arena.survived().await;
    });
}

/// A body in a handshake would make the start of the frames ambiguous.
#[test]
fn a_handshake_has_no_body_to_hide_a_request_in() {
    alone(async {
        let arena = Arena::start().await;
        let length = HIDDEN.len().to_string();
        for lines in [
            &[("Content-Length", &*length)][..],
            &[("Transfer-Encoding", "chunked")],
            &[("Content-Length", "0"), ("Transfer-Encoding", "chunked")],
            &[("Content-Length", "0"), ("Content-Length", &*length)],
        ] {
            let bytes = [handshake_request("/ws/x", lines), HIDDEN.into()].concat();
            assert_eq!(arena.status(bytes).await, 400, "{lines:?}");
            assert!(arena.reached().is_empty(), "{lines:?}");
        }
        arena.survived().await;
    });
}

/// A `GET` with a body (CL.0): the body is passed on as one, whatever the upstream thinks of it.
#[test]
fn the_body_of_a_get_is_framed() {
    alone(async {
        let arena = Arena::start().await;
        let line = format!("Content-Length: {}", HIDDEN.len());
        let bytes = [request("GET", "/ws/x", &[&line]), HIDDEN.into()].concat();
        assert_eq!(arena.status(bytes).await, 200);
        assert_eq!(arena.reached(), ["/ws/x"]);
        let length = HIDDEN.len().to_string();
        assert_eq!(arena.last_head().get("content-length"), Some(&*length));
        arena.survived().await;
    });
}
