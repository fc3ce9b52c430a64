//! Tunnels that are opened and aborted, by the ten thousand.

use futures_util::{StreamExt, stream};

use crate::{
    alone,
    arena::Arena,
    arena::Limits,
    client::{Client, handshake},
};

/// Tunnels of each of two rounds.
const TUNNELS: usize = 5_000;

/// Tunnels at a time.
const AT_ONCE: usize = 50;

/// A masked text frame "hi".
const FRAME: [u8; 8] = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];

#[test]
fn tunnels_are_opened_and_aborted_by_the_ten_thousand() {
    alone(async {
        let arena = Arena::start(Limits::Default).await;
        arena
            .endures(async |arena| {
                stream::iter(0..TUNNELS)
                    .for_each_concurrent(AT_ONCE, |number| open_and_abort(arena, number % 6))
                    .await;
            })
            .await;
    });
}

async fn open_and_abort(arena: &Arena, stage: usize) {
    if stage == 0 {
        // Before the 101.
        let mut client = Client::connect(arena.addr).await;
        client.send(handshake("/ws/x")).await.unwrap();
        return client.abort();
    }
    let path = if stage == 4 { "/ws/large" } else { "/ws/x" };
    let mut client = Client::websocket(arena.addr, path).await;
    match stage {
        // Within a frame.
        2 => client.send(&FRAME[..3]).await.unwrap(),
        // With an echo on its way.
        3 => client.send(FRAME).await.unwrap(),
        // In order, but without a close frame.
        5 => return drop(client),
        // At once; or while the upstream sends without end.
        _ => {}
    }
    client.abort();
}
