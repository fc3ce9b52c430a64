//! Tunnels that end by the thousand on one connection over HTTP/2, as on the connection that a browser
//! or a CDN keeps for hours. Nothing of it is an attack, so the connection must last.

use std::collections::BTreeSet;

use crate::{
    alone,
    arena::{Arena, Limits},
    http2::{
        CANCEL, Connection, DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE,
        RST_STREAM, WINDOW_UPDATE, frame, handshake, streams,
    },
};

/// Tunnels on the connection. h2 allows 1,024 errors of the peer in the life of a connection, and for a
/// stream that it has reset each frame of the peer is one, unless h2 remembers the stream.
const TUNNELS: usize = 1_350;

/// Tunnels that are open at once, and end together: below hyper's limit of streams, and more than the 50
/// that h2 remembers.
const AT_ONCE: usize = 150;

/// A masked text frame "hi", and a masked close frame with 1000.
const MESSAGE: [u8; 8] = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8];

/// How the client behaves once its tunnels are open.
#[derive(Clone, Copy, Debug)]
enum Client {
    /// Sends a message to the upstream, replies to the close frame, and ends the stream when the server
    /// has ended it. A message comes before each of these two, as if it was on its way.
    Replies,
    /// Sends a message, and resets the stream.
    Resets,
    /// Ends the stream inside a frame.
    EndsInside,
}

#[test]
fn a_connection_outlasts_tunnels_that_the_upstream_closes() {
    expect_to_last("/ws/closing", Client::Replies);
}

#[test]
fn a_connection_outlasts_tunnels_whose_upstream_crashes() {
    expect_to_last("/ws/crashing", Client::Replies);
}

#[test]
fn a_connection_outlasts_tunnels_that_the_client_resets() {
    expect_to_last("/ws/x", Client::Resets);
}

#[test]
fn a_connection_outlasts_tunnels_that_the_client_ends_inside_a_frame() {
    expect_to_last("/ws/x", Client::EndsInside);
}

/// Opens and ends tunnels on one connection, which must last.
fn expect_to_last(path: &str, client: Client) {
    alone(async {
        let arena = Arena::start(Limits::Default).await;
        let window = (INITIAL_WINDOW_SIZE, 65_535);
        let mut connection = Connection::open(arena.addr, window).await;
        let increment = (1_u32 << 30).to_be_bytes();
        connection
            .send(&[frame(WINDOW_UPDATE, 0, 0, &increment)])
            .await;
        let mut ids = streams();
        for round in 0..TUNNELS / AT_ONCE {
            let batch: BTreeSet<u32> = ids.by_ref().take(AT_ONCE).collect();
            open(&mut connection, &batch, path, round).await;
            end(&mut connection, &batch, client).await;
        }
        drop(connection);
        arena.holds_only(0).await;
    });
}

/// Opens tunnels, and waits for the response of each.
async fn open(connection: &mut Connection, batch: &BTreeSet<u32>, path: &str, round: usize) {
    let handshakes: Vec<_> = batch
        .iter()
        .map(|stream| frame(HEADERS, END_HEADERS, *stream, &handshake(path)))
        .collect();
    connection.send(&handshakes).await;
    let mut opening = batch.clone();
    while !opening.is_empty() {
        let frame = connection.next_frame().await;
        let frame = frame.unwrap_or_else(|| panic!("the connection is over in round {round}"));
        assert!(!frame.is_goaway(), "GOAWAY in round {round}: {frame:?}");
        let is_refused = frame.kind == RST_STREAM && opening.contains(&frame.stream);
        assert!(!is_refused, "refused in round {round}: {frame:?}");
        if frame.kind == HEADERS {
            opening.remove(&frame.stream);
        }
    }
}

/// Ends tunnels as the client does, and waits for the end of each.
async fn end(connection: &mut Connection, batch: &BTreeSet<u32>, client: Client) {
    let data = |stream: u32, bytes: &[u8]| frame(DATA, 0, stream, bytes);
    let reset = |stream: u32| frame(RST_STREAM, 0, stream, &CANCEL);
    let first: Vec<_> = batch
        .iter()
        .map(|stream| match client {
            Client::Replies => data(*stream, &MESSAGE),
            Client::Resets => [data(*stream, &MESSAGE), reset(*stream)].concat(),
            Client::EndsInside => frame(DATA, END_STREAM, *stream, &MESSAGE[..3]),
        })
        .collect();
    connection.send(&first).await;
    if let Client::Resets = client {
        return;
    }
    wait_for_ends(connection, batch, client).await;
    if let Client::Replies = client {
        let late: Vec<_> = batch
            .iter()
            .map(|stream| {
                let end = frame(DATA, END_STREAM, *stream, &[]);
                [data(*stream, &MESSAGE), end].concat()
            })
            .collect();
        connection.send(&late).await;
    }
}

/// Waits for the server's end of each tunnel, which must not be a reset.
async fn wait_for_ends(connection: &mut Connection, batch: &BTreeSet<u32>, client: Client) {
    let mut open = batch.clone();
    while !open.is_empty() {
        let received = connection.next_frame().await.expect("the connection lasts");
        assert!(!received.is_goaway(), "{received:?}");
        let is_reset = received.kind == RST_STREAM && open.contains(&received.stream);
        assert!(!is_reset, "{received:?}");
        if received.kind != DATA {
            continue;
        }
        if let (Client::Replies, false) = (client, received.payload.is_empty()) {
            let reply = [MESSAGE, CLOSE].concat();
            let reply = frame(DATA, 0, received.stream, &reply);
            connection.send(&[reply]).await;
        }
        if received.flags & END_STREAM != 0 {
            open.remove(&received.stream);
        }
    }
}
