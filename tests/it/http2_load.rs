//! A hundred tunnels on one connection over HTTP/2: some are flooded with small frames, some
//! stall, some are dropped, and the others take no notice. To upstreams over HTTP/1.1, and over
//! HTTP/2 again.

use axum::Router;
use futures_util::{SinkExt, StreamExt, future::join_all};
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use tungstenite::Message;
use wsplice::{Pool, ProxyLayer, Upstream, connect::HttpVersion};

use crate::{
    http2::{Connection, Socket},
    support::{
        axum_upstream,
        deadline::within,
        rng::{Checksum, Xorshift, payload},
        serve::serve_axum,
    },
};

const TUNNELS: usize = 100;
const STALLED: usize = 20;
const FLOODED: usize = 30;
const DROPPED: usize = 10;

/// Messages on a flooded tunnel.
const FLOOD: usize = 200;

/// Messages to a stalled tunnel before any of it is read, as number and bytes: far more than the
/// window of a stream.
const STALL: (usize, usize) = (32, 64 * 1024);

/// The client's windows for a stream and for the connection, in bytes: the receiver decides how
/// much may stall without stalling the rest.
const WINDOWS: (u32, u32) = (256 * 1024, 32 * 1024 * 1024);

#[tokio::test]
async fn no_stall_spreads_over_a_connection_to_http1_upstreams() {
    no_stall_spreads(HttpVersion::Http1).await;
}

#[tokio::test]
async fn no_stall_spreads_over_a_connection_to_http2_upstreams() {
    no_stall_spreads(HttpVersion::Http2).await;
}

async fn no_stall_spreads(version: HttpVersion) {
    let upstream = axum_upstream::start().await;
    let pool = Pool::from_upstreams([Upstream::new(&upstream.url())
        .unwrap()
        .http_version(version)]);
    let proxy = ProxyLayer::new(pool);
    let registry = proxy.registry();
    let server = serve_axum(Router::new().layer(proxy)).await;
    let (stream_window, connection_window) = WINDOWS;
    let mut client = http2::Builder::new(TokioExecutor::new());
    client
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(connection_window);
    let mut connection = Connection::open_with(server.addr(), &client).await;

    let (count, size) = STALL;
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let path = format!("/ws/push/{count}/{size}");
        stalled.push(connection.websocket(&path).await);
    }
    let mut sockets = Vec::new();
    for _ in STALLED..TUNNELS {
        sockets.push(connection.websocket("/ws/echo").await);
    }
    assert_eq!(registry.count(), TUNNELS);

    let dropped = sockets.split_off(sockets.len() - DROPPED);
    let busy = sockets.split_off(FLOODED);
    let mut flooded = sockets;
    drop(dropped);
    let floods = join_all(flooded.iter_mut().enumerate().map(flood));
    let exchanges = join_all(busy.into_iter().enumerate().map(exchange));
    let _tunnels = tokio::join!(floods, exchanges).1;

    // All of the bytes that waited all the time arrive.
    for socket in &mut stalled {
        for index in 0..count {
            let message = within("a message that has waited", socket.next()).await;
            let expected = Message::binary(axum_upstream::pushed(index, size));
            assert!(message.unwrap().unwrap() == expected, "message {index}");
        }
    }
    // There was no GOAWAY: the connection takes another stream.
    connection.websocket("/ws/echo").await;
}

/// Sends small messages as fast as possible, and compares all that come back.
async fn flood((seed, socket): (usize, &mut Socket)) {
    let mut random = Xorshift::new(seed as u64);
    let messages: Vec<Vec<u8>> = (0..FLOOD)
        .map(|_| {
            let len = random.below(16);
            random.bytes(len)
        })
        .collect();
    let mut sent = Checksum::new();
    let mut received = Checksum::new();
    let (mut sink, mut stream) = socket.split();
    let send = async {
        for message in &messages {
            sent.update(message);
            sink.send(Message::binary(message.clone())).await.unwrap();
        }
    };
    let receive = async {
        for _ in 0..FLOOD {
            let message = stream.next().await.unwrap().unwrap();
            received.update(&message.into_data());
        }
    };
    within("a flood", async { tokio::join!(send, receive) }).await;
    assert_eq!(sent, received);
}

/// Sends larger messages, one after the other.
async fn exchange((seed, mut socket): (usize, Socket)) -> Socket {
    for round in 0..2 {
        let message = Message::binary(payload((seed * 10 + round) as u64, 40_000));
        within("sending", socket.send(message.clone()))
            .await
            .unwrap();
        let answer = within("an answer", socket.next()).await;
        assert!(answer.unwrap().unwrap() == message);
    }
    socket
}
