//! Floods of HTTP/2 frames: none of them is expensive for the client.

use std::{iter, time::Duration};

use futures_util::future::join_all;

use crate::{
    alone,
    arena::{Arena, Limits},
    http2::{
        CANCEL, CONTINUATION, Connection, DATA, END_HEADERS, END_STREAM, End, HEADERS,
        INITIAL_WINDOW_SIZE, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, encode, frame,
        handshake, request, streams,
    },
};

/// Connections that attack at once.
const CONNECTIONS: usize = 8;

/// Frames on each.
const FRAMES: usize = 10_000;

/// The window of a stream that RFC 9113 §6.5.2 gives.
const USUAL_WINDOW: (u16, u32) = (INITIAL_WINDOW_SIZE, 65_535);

/// Sends the frames on several connections, to a server with the default bounds. Every connection
/// must end so.
fn expect<F: Iterator<Item = Vec<u8>>>(end: End, flood: impl Fn() -> F) {
    alone(async {
        let arena = Arena::start(Limits::Default).await;
        arena
            .endures(async |arena| {
                let attack = async || {
                    let connection = Connection::open(arena.addr, USUAL_WINDOW).await;
                    connection.flood(flood()).await
                };
                let ends = join_all(iter::repeat_with(attack).take(CONNECTIONS)).await;
                assert_eq!(ends, [end; CONNECTIONS]);
            })
            .await;
    });
}

/// Expects that the connection lasts until the client ends it. A request is sent before the frames, or a
/// server that waits for the first one ends a slow flood.
fn expect_endured<F: Iterator<Item = Vec<u8>>>(flood: impl Fn() -> F) {
    expect(End::Endured, || iter::once(get(1, "/alive")).chain(flood()));
}

/// Sends the frames again and again without reading what the server sends, which must close the
/// connection. The first frames are sent once.
fn expect_close_of_unread(setting: (u16, u32), first: &[Vec<u8>], frames: &[u8]) {
    alone(async {
        let arena = Arena::start(Limits::Short).await;
        arena
            .endures(async |arena| {
                let attack = async || {
                    let mut connection = Connection::open(arena.addr, setting).await;
                    connection.send(first).await;
                    connection.flood_unread(frames).await;
                };
                join_all(iter::repeat_with(attack).take(CONNECTIONS)).await;
            })
            .await;
    });
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    let flags = END_HEADERS | END_STREAM;
    frame(HEADERS, flags, stream, &request("GET", path))
}

/// A request whose body follows.
fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &request("POST", "/ws/x"))
}

/// CVE-2023-44487, rapid reset: requests that are canceled at once, so that they never count as
/// concurrent.
#[test]
fn rapid_resets_of_forwarded_requests_are_refused() {
    expect_refused_resets(|stream| get(stream, "/ws/x"));
}

#[test]
fn rapid_resets_of_websockets_are_refused() {
    expect_refused_resets(|stream| frame(HEADERS, END_HEADERS, stream, &handshake("/ws/x")));
}

#[test]
fn rapid_resets_of_requests_for_the_inner_service_are_refused() {
    expect_refused_resets(|stream| get(stream, "/x"));
}

/// Expects the end of a connection that opens streams and resets each of them at once.
fn expect_refused_resets(open: fn(u32) -> Vec<u8>) {
    expect(End::Refused, || {
        streams()
            .take(FRAMES)
            .map(|stream| [open(stream), frame(RST_STREAM, 0, stream, &CANCEL)].concat())
    });
}

/// CVE-2025-8671, "MadeYouReset": the client makes the server cancel each request, here by an
/// increment of zero (RFC 9113 §6.9).
#[test]
fn requests_that_make_the_server_reset_them_are_refused() {
    expect(End::Refused, || {
        streams().take(FRAMES).map(|stream| {
            let zero = frame(WINDOW_UPDATE, 0, stream, &[0; 4]);
            [get(stream, "/ws/large"), zero].concat()
        })
    });
}

/// CVE-2019-9514, reset flood: malformed requests, each of which the server resets.
#[test]
fn malformed_requests_without_end_are_refused() {
    let block = encode(&[(":method", "GET"), (":unknown", "x")]);
    expect(End::Refused, || {
        let block = block.clone();
        streams()
            .take(FRAMES)
            .map(move |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block))
    });
}

/// CVE-2024-27316, RUSTSEC-2024-0332 and others: a head that goes on in `CONTINUATION` frames without
/// end.
#[test]
fn continuations_without_end_are_refused() {
    let line = encode(&[("x", &"x".repeat(100))]);
    expect(End::Refused, || {
        let head = frame(HEADERS, END_STREAM, 1, &request("GET", "/ws/x"));
        let more = frame(CONTINUATION, 0, 1, &line.repeat(10));
        iter::once(head).chain(iter::repeat_n(more, FRAMES))
    });
}

/// CVE-2019-9518, empty frames, of the kind without any bytes to count.
#[test]
fn empty_continuations_without_end_are_refused() {
    expect(End::Refused, || {
        let head = frame(HEADERS, END_STREAM, 1, &request("GET", "/ws/x"));
        let more = frame(CONTINUATION, 0, 1, &[]);
        iter::once(head).chain(iter::repeat_n(more, FRAMES))
    });
}

/// CVE-2019-9518: empty frames of a body.
#[test]
fn empty_data_without_end_is_refused() {
    expect(End::Refused, || {
        let empty = frame(DATA, 0, 1, &[]);
        iter::once(post(1)).chain(iter::repeat_n(empty, 10 * FRAMES))
    });
}

/// Frames of a body with one byte each.
#[test]
fn tiny_data_is_no_harm() {
    alone(async {
        let arena = Arena::start(Limits::Default).await;
        arena
            .endures(async |arena| {
                let attack = async || {
                    let connection = Connection::open(arena.addr, USUAL_WINDOW).await;
                    let tiny = frame(DATA, 0, 1, b"x");
                    let frames = iter::once(post(1)).chain(iter::repeat_n(tiny, FRAMES));
                    // The server may refuse them or relay them.
                    connection.flood(frames).await;
                };
                join_all(iter::repeat_with(attack).take(CONNECTIONS)).await;
            })
            .await;
    });
}

/// CVE-2019-9516: lines with an empty name and an empty value, which take memory if they are kept.
#[test]
fn empty_header_lines_are_refused() {
    let lines = encode(&[("", "")]).repeat(5_000);
    expect(End::Refused, || {
        let lines = lines.clone();
        streams().take(FRAMES / 10).map(move |stream| {
            let block = [request("GET", "/ws/x"), lines.clone()].concat();
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
        })
    });
}

/// CVE-2016-6581, HPACK bomb: one long line in the dynamic table, and thousands of references to it.
#[test]
fn references_to_a_long_header_line_are_refused() {
    // A literal with incremental indexing (RFC 7541 §6.2.1) of 3,000 bytes (§5.1), and its index.
    let mut bomb = vec![0x40, 1, b'x', 0x7f];
    bomb.extend([0xb9, 0x16]);
    bomb.extend([b'x'; 3_000]);
    bomb.extend([0xbe; 10_000]);
    expect(End::Refused, || {
        let bomb = bomb.clone();
        streams().take(50).map(move |stream| {
            let block = [request("GET", "/ws/x"), bomb.clone()].concat();
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
        })
    });
}

/// CVE-2019-9513, resource loop: priorities that change all the time.
#[test]
fn priorities_are_no_harm() {
    expect_endured(|| {
        streams().take(FRAMES).map(|stream| {
            let depends_on = stream.saturating_sub(2).to_be_bytes();
            frame(PRIORITY, 0, stream, &[&depends_on[..], &[1]].concat())
        })
    });
}

/// Frames of types that RFC 9113 does not know, which are ignored (§4.1).
#[test]
fn frames_of_unknown_types_are_no_harm() {
    expect_endured(|| iter::repeat_n(frame(0xfa, 0xff, 1, &[0; 100]), FRAMES));
}

/// CVE-2019-9512, ping flood, from a client that reads the answers.
#[test]
fn pings_that_are_read_are_no_harm() {
    expect_endured(|| iter::repeat_n(frame(PING, 0, 0, &[0; 8]), FRAMES));
}

/// CVE-2019-9512, from a client that does not read them: they must not be kept.
#[test]
fn pings_that_are_not_read_end_the_connection() {
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(100);
    expect_close_of_unread(USUAL_WINDOW, &[], &pings);
}

/// CVE-2019-9515, settings flood.
#[test]
fn settings_that_are_not_acknowledged_in_time_end_the_connection() {
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]).repeat(100);
    expect_close_of_unread(USUAL_WINDOW, &[], &settings);
}

/// CVE-2019-9517, internal data buffering: the window of HTTP/2 is open, that of TCP closed.
#[test]
fn responses_into_an_open_window_are_not_kept_for_a_client_that_does_not_read() {
    let window = (INITIAL_WINDOW_SIZE, i32::MAX as u32);
    let mut first = vec![frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes())];
    first.extend(streams().take(50).map(|stream| get(stream, "/ws/large")));
    expect_close_of_unread(window, &first, &frame(PING, 0, 0, &[0; 8]));
}

/// The most that one stream of such a client may hold: what is buffered for it, what was read of its
/// upstream, and a connection to that.
const MAX_HELD: isize = 528 << 10;

/// CVE-2019-9517 again: what is held until the connection is closed.
#[test]
fn responses_into_an_open_window_hold_little_memory_for_each() {
    const STREAMS: usize = 100;
    alone(async {
        let arena = Arena::start(Limits::Short).await;
        let window = (INITIAL_WINDOW_SIZE, i32::MAX as u32);
        let before = arena.memory();
        let mut connection = Connection::open(arena.addr, window).await;
        let mut first = vec![frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes())];
        first.extend(
            streams()
                .take(STREAMS)
                .map(|stream| get(stream, "/ws/large")),
        );
        connection.send(&first).await;
        let ping = frame(PING, 0, 0, &[0; 8]);
        let mut most = 0;
        tokio::select! {
            () = connection.flood_unread(&ping) => {}
            () = async {
                loop {
                    most = most.max(arena.memory() - before);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            } => {}
        }
        let each = most / STREAMS as isize;
        println!("{each} bytes for each response");
        assert!(each > 0 && each < MAX_HELD, "{each} bytes");
    });
}

/// CVE-2019-9511, data dribble: a window that opens a byte at a time.
#[test]
fn windows_that_open_bytewise_are_no_harm() {
    alone(async {
        let arena = Arena::start(Limits::Short).await;
        arena
            .endures(async |arena| {
                let attack = async || {
                    let closed = (INITIAL_WINDOW_SIZE, 0);
                    let connection = Connection::open(arena.addr, closed).await;
                    let ask = streams().take(50).map(|stream| get(stream, "/ws/large"));
                    let bytes = (0..FRAMES as u32).map(|number| {
                        let stream = number % 50 * 2 + 1;
                        frame(WINDOW_UPDATE, 0, stream, &1_u32.to_be_bytes())
                    });
                    connection.flood(ask.chain(bytes)).await;
                };
                join_all(iter::repeat_with(attack).take(CONNECTIONS)).await;
            })
            .await;
    });
}

/// A window that never opens: a server polls no body then, so the client's time must run elsewhere.
#[test]
fn windows_that_never_open_hold_no_lease() {
    alone(async {
        let arena = Arena::start(Limits::Short).await;
        arena
            .endures(async |arena| {
                let mut connections = Vec::new();
                for _ in 0..CONNECTIONS {
                    let closed = (INITIAL_WINDOW_SIZE, 0);
                    let mut connection = Connection::open(arena.addr, closed).await;
                    for stream in streams().take(50) {
                        connection.send(&[get(stream, "/ws/large")]).await;
                    }
                    connections.push(connection);
                }
                arena.leases_nothing().await;
            })
            .await;
    });
}
