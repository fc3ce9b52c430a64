//! Responses that are nearly valid.

use crate::{parsers_kit::garble::Draft, support::dice::Dice};

pub(super) fn response(dice: &mut impl Dice) -> Vec<u8> {
    let draft = match dice.below(5) {
        0 => Draft::new("HTTP/1.1 100 Continue", &[], ""),
        1 => Draft::new("HTTP/1.1 200 OK", &["Content-Length: 5"], "hello"),
        2 => Draft::new(
            dice.pick(STARTS),
            &["Transfer-Encoding: chunked"],
            dice.pick([
                "0\r\n\r\n",
                "5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n",
                "5\r\nhel",
                "z\r\n",
            ]),
        ),
        _ => Draft::new(
            "HTTP/1.1 101 Switching Protocols",
            &[
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            ],
            dice.pick([
                "",
                "\u{1}\u{2}",
                "HTTP/1.1 200 OK\r\n\r\n",
                "\u{1}\u{5}hello",
            ]),
        ),
    };
    draft.garbled(dice, LINES)
}

const STARTS: [&str; 12] = [
    "HTTP/1.1 200",
    "HTTP/1.0 101 Switching",
    "HTTP/1.1 101",
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 304 Not Modified",
    "HTTP/1.1 426 Upgrade Required",
    "HTTP/1.1 1011 x",
    "HTTP/1.1 99 x",
    "HTTP/2 101 x",
    "HTTP/1.1  101 x",
    "HTTP/1.1 403 \u{fc}",
    "ICY 200 OK",
];

const LINES: &[&str] = &[
    "Sec-WebSocket-Protocol: chat",
    "Sec-WebSocket-Protocol: Chat",
    "Sec-WebSocket-Protocol:",
    "Sec-WebSocket-Protocol: chat, superchat",
    "Sec-WebSocket-Extensions: permessage-deflate",
    "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover",
    "Sec-WebSocket-Extensions: Permessage-Deflate; client_max_window_bits=\"12\", ",
    "Sec-WebSocket-Extensions: x-a; p=\"1,2\"; q",
    "Sec-WebSocket-Extensions: x-b",
    "Sec-WebSocket-Extensions: permessage-deflate; a=\"",
    "Sec-WebSocket-Accept: x",
    "Upgrade: h2c",
    "Upgrade: websocket",
    "Connection: close",
    "Connection: x-a, upgrade",
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: 3",
    "Content-Length: 5, 5",
    "Content-Length: -1",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding:",
    "Transfer-Encoding : chunked",
    "Set-Cookie: a=b",
    "X-A: 1",
    " folded",
    "no colon",
    "Keep-Alive: timeout=5",
    "Alt-Svc: h3=\":443\"",
    "Trailer: X-A",
    "X-A: \u{fffd}",
];
