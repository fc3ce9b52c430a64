//! Responses to forwarded requests that are nearly valid.

use crate::{parsers_kit::garble::Draft, support::dice::Dice};

/// A response, perhaps with others ahead of it and bytes behind it.
pub(super) fn responses(dice: &mut impl Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    if dice.is_one_of(3) {
        bytes.extend(match dice.is_one_of(3) {
            false => Draft::new("HTTP/1.1 100 Continue", &[], "").garbled(dice, &["X-A: 1"]),
            true => response(dice),
        });
    }
    bytes.extend(response(dice));
    bytes.extend_from_slice(dice.pick(BEHIND).as_bytes());
    bytes
}

fn response(dice: &mut impl Dice) -> Vec<u8> {
    let draft = match dice.below(5) {
        0 => Draft::new("HTTP/1.1 200 OK", &["Content-Length: 5"], "hello"),
        1 => Draft::new("HTTP/1.1 200 OK", &[], dice.pick(["", "until the end"])),
        2 => Draft::new(
            dice.pick(STARTS),
            &["Content-Length: 5"],
            dice.pick(["", "hello"]),
        ),
        _ => Draft::new(
            "HTTP/1.1 200 OK",
            &["Transfer-Encoding: chunked"],
            dice.pick(CHUNKS),
        ),
    };
    match dice.is_one_of(3) {
        true => draft.with_lines(dice, LINES).written(),
        false => draft.garbled(dice, LINES),
    }
}

const STARTS: [&str; 12] = [
    "HTTP/1.1 200",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 101 Switching",
    "HTTP/1.1 103 Early Hints",
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 304 Not Modified",
    "HTTP/1.1 426 Upgrade Required",
    "HTTP/1.1 999 x",
    "HTTP/1.1 99 x",
    "HTTP/2 200 x",
    "HTTP/1.1 502 \u{fc}",
    "ICY 200 OK",
];

const CHUNKS: [&str; 8] = [
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n",
    "5\r\nhello\r\n0\r\nX-A: 1\r\nSet-Cookie: a=b\r\nContent-Length: 1\r\n\r\n",
    "2;a=\"b\"\r\nhe\r\n3\r\nllo\r\n00\r\n\r\n",
    "5\r\nhel",
    "5\r\nhello\r\n",
    "5\r\nhelloo\r\n0\r\n\r\n",
    "z\r\n",
];

/// Bytes behind a response, of which one would be taken for the response to the second request.
const BEHIND: [&str; 6] = [
    "",
    "",
    "",
    "",
    "\r\n",
    "HTTP/1.1 200 OK\r\nX-Stray: 1\r\nContent-Length: 5\r\n\r\nstray",
];

const LINES: &[&str] = &[
    "Connection: close",
    "Connection: keep-alive",
    "Connection: x-a, Content-Length",
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: 3",
    "Content-Length: 05, 5",
    "Content-Length: -1",
    "Content-Length:",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding:",
    "Transfer-Encoding : chunked",
    "Keep-Alive: timeout=1",
    "Keep-Alive: max=5, Timeout = \"2\"",
    "Keep-Alive: timeout=60",
    "WWW-Authenticate: NTLM",
    "WWW-Authenticate: Basic realm=\"a, b\", negotiate YII=",
    "WWW-Authenticate: Basic realm=\"NTLM\"",
    "Cache-Control: public, max-age=60",
    "Cache-Control: private=\"set-cookie, x-a\", S-MaxAge=5",
    "Cache-Control: no-store",
    "Cache-Control: no-cache=\"a, no-store",
    "Set-Cookie: a=b",
    "X-A: 1",
    "X-A: \u{fffd}",
    " folded",
    "no colon",
    "Alt-Svc: h3=\":443\"",
    "Trailer: X-A",
    "Date: now",
    "Upgrade: websocket",
];
