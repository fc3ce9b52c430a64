//! Extended `CONNECT` (RFC 8441) with wrong pseudo-headers, frame by frame.

use super::kit::Arena;
use crate::{
    alone,
    support::{
        h2_frame::{
            self, END_HEADERS, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, STATUS_200, encode,
            frame,
        },
        raw::RawClient,
    },
};

/// Result of a request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Accepted,
    /// Another status, or the end of the stream or of the connection.
    Rejected,
}

async fn ask(arena: &Arena, lines: &[(&str, &str)]) -> Outcome {
    let mut client = RawClient::connect(arena.addr()).await;
    let settings = frame(SETTINGS, 0, 0, &[]);
    let headers = frame(HEADERS, END_HEADERS, 1, &encode(lines));
    client.send(&[PREFACE, &settings, &headers].concat()).await;
    loop {
        let received = h2_frame::read(&mut client).await;
        match received.kind {
            HEADERS if received.payload.starts_with(&STATUS_200) => return Outcome::Accepted,
            HEADERS | RST_STREAM | GOAWAY => return Outcome::Rejected,
            _ => {}
        }
    }
}

const RIGHT: [(&str, &str); 6] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":authority", "app.test"),
    (":path", "/ws/x"),
    ("sec-websocket-version", "13"),
];

/// The right request with one line changed.
fn with(name: &str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    let change = |line: (&'static str, _)| {
        if line.0 == name {
            (line.0, value)
        } else {
            line
        }
    };
    RIGHT.into_iter().map(change).collect()
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    RIGHT.into_iter().filter(|line| line.0 != name).collect()
}

fn and(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    [&RIGHT[..], &[(name, value)]].concat()
}

#[test]
fn wrong_pseudo_headers_open_no_tunnel() {
    alone(async {
        let arena = Arena::start().await;
        assert_eq!(ask(&arena, &RIGHT).await, Outcome::Accepted);
        let opened = arena.reached().len();
        for lines in [
            without(":method"),
            without(":scheme"),
            without(":authority"),
            without(":path"),
            with(":path", ""),
            with(":path", "ws/x"),
            with(":path", "*"),
            with(":path", "/ws/../private"),
            with(":method", "connect"),
            with(":protocol", ""),
            with(":protocol", "h2c"),
            with(":protocol", "websocket, h2c"),
            with(":authority", ""),
            with(":authority", "user@app.test"),
            with(":authority", "app.test/ws"),
            with(":authority", "app.test, admin.internal"),
            with(":authority", "app.test:99999"),
            with(":scheme", ""),
            with("sec-websocket-version", "8"),
            and(":protocol", "websocket"),
            and(":path", "/ws/y"),
            and(":authority", "admin.internal"),
            and("host", "admin.internal"),
            and("connection", "upgrade"),
            and("upgrade", "websocket"),
            and("transfer-encoding", "chunked"),
            and("Sec-WebSocket-Protocol", "x"),
            and("x", "a\r\nx-injected: 1"),
            and("x\r\nx-injected", "1"),
            and(":unknown", "1"),
        ] {
            assert_eq!(ask(&arena, &lines).await, Outcome::Rejected, "{lines:?}");
            assert_eq!(arena.reached().len(), opened, "{lines:?}");
        }
        // `:protocol` without CONNECT is malformed (RFC 8441 §4), and opens none.
        assert_eq!(
            ask(&arena, &with(":method", "GET")).await,
            Outcome::Rejected
        );
        // A plain CONNECT names a connection to open, which is never proxied.
        let plain = [(":method", "CONNECT"), (":authority", "127.0.0.1:1")];
        ask(&arena, &plain).await;
        assert_eq!(arena.reached().len(), opened);
        arena.survived().await;
    });
}
