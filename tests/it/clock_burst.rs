//! A burst of 4 MiB to a reader of 64 KiB/s, and silence behind it, over each kind of connection, on
//! a paused clock. `tunnel_paths` has the same on sockets: 1 MiB to a reader of half a mebibyte a
//! second.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{
    body::Incoming,
    client::conn::http2 as client,
    server::conn::http2 as server,
    service::service_fn,
    upgrade::{self, Upgraded},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    sync::oneshot,
    time::Instant,
};
use wsplice::{
    connect::Transport,
    tunnel::{Side, Tunnel},
};

use crate::{
    clock_kit::{SIDES, from_side, only, opposite, secs, steady},
    http2::connect,
    support::{
        frames::{binary, pong},
        rng::payload,
        tls,
    },
    tunnel_paths::{Path, Streamed, frame_in_sips},
};

/// The frames of the burst, and the payload of each.
const BURST: (usize, usize) = (64, 64 * 1024);

/// The reader takes so much, and then waits: 64 KiB/s.
const SIP: usize = 8 * 1024;
const BETWEEN_SIPS: Duration = Duration::from_millis(125);

/// Bytes that wait in the pipe below: little, or as much as kernels hold.
const CAPACITIES: [usize; 2] = [8 * 1024, 1 << 20];

/// Sends the burst to this side through a tunnel that pings it each second, reads it slowly, and
/// goes on to answer pings for two minutes.
async fn is_survived<N, F>(side: Side, near: N, far: F)
where
    N: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: AsyncRead + AsyncWrite + Unpin,
{
    let (other_near, mut other) = duplex(64 * 1024);
    let (near, other_near) = (Transport::new(near), Transport::new(other_near));
    let builder = match side {
        Side::Client => Tunnel::builder(near, other_near),
        _ => Tunnel::builder(other_near, near),
    };
    let keep_alive = steady().interval(secs(1)).pong_timeout(secs(2));
    let tunnel = tokio::spawn(builder.config(only(side, keep_alive)).build());
    let (frames, len) = BURST;
    let sent: Vec<_> = (0..frames as u64)
        .map(|seed| from_side(opposite(side), binary(&payload(seed, len))))
        .collect();
    let all = sent.concat();
    let mut reader = Streamed(far);
    let reading = async {
        let mut received = Vec::new();
        let mut silent_since = None;
        while silent_since.is_none_or(|since: Instant| since.elapsed() < secs(120)) {
            let frame = frame_in_sips(&mut reader, SIP, BETWEEN_SIPS).await;
            if frame.first == 0x89 {
                let answer = from_side(side, pong(&frame.payload));
                reader.send(&answer).await;
            } else {
                received.push(frame.raw);
            }
            if received.len() == frames {
                silent_since.get_or_insert_with(Instant::now);
            }
        }
        received
    };
    let began = Instant::now();
    let (received, written) = tokio::join!(reading, other.write_all(&all));
    written.expect("the tunnel takes the burst");
    assert!(received == sent, "the {side} received other bytes");
    assert!(began.elapsed() >= secs(64 + 120), "read slowly");
    assert!(!tunnel.is_finished(), "the {side} is alive");
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_64_kib_a_second_outlives_a_burst_of_4_mib() {
    for (side, capacity) in cases() {
        let (near, far) = duplex(capacity);
        is_survived(side, near, far).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_64_kib_a_second_outlives_a_burst_of_4_mib_inside_tls() {
    for (side, capacity) in cases() {
        let (server, client) = duplex(capacity);
        let (server, client) = tls::pair(server, client).await;
        match side {
            Side::Client => is_survived(side, server, client).await,
            _ => is_survived(side, client, server).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_64_kib_a_second_outlives_a_burst_of_4_mib_on_a_stream() {
    for (side, capacity) in cases() {
        let (server, client, _connection) = stream(capacity).await;
        match side {
            Side::Client => is_survived(side, server, client).await,
            _ => is_survived(side, client, server).await,
        }
    }
}

fn cases() -> impl Iterator<Item = (Side, usize)> {
    SIDES
        .into_iter()
        .flat_map(|side| CAPACITIES.map(|capacity| (side, capacity)))
}

/// Both ends of an HTTP/2 stream over a pipe, the server's and the client's, and a value that keeps
/// the connection.
async fn stream(
    capacity: usize,
) -> (
    TokioIo<Upgraded>,
    TokioIo<Upgraded>,
    client::SendRequest<Empty<Bytes>>,
) {
    let (server_io, client_io) = duplex(capacity);
    let (give, accepted) = oneshot::channel();
    tokio::spawn(accept(server_io, give));
    let handshake = client::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .handshake(TokioIo::new(client_io));
    let (mut sender, connection) = handshake.await.expect("a connection");
    tokio::spawn(connection);
    let response = sender.send_request(connect("/ws", "websocket")).await;
    let client = upgrade::on(response.expect("a response")).await;
    let server = accepted.await.expect("a stream");
    (
        TokioIo::new(server),
        TokioIo::new(client.expect("a stream")),
        sender,
    )
}

/// Accepts one stream, and serves the connection.
async fn accept(io: DuplexStream, give: oneshot::Sender<Upgraded>) {
    let give = std::sync::Mutex::new(Some(give));
    let service = service_fn(|request: Request<Incoming>| {
        let give = give.lock().expect("a lock").take();
        tokio::spawn(async move {
            let upgraded = upgrade::on(request).await.expect("a stream");
            let _ = give.expect("one stream").send(upgraded);
        });
        async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
    });
    let mut builder = server::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).enable_connect_protocol();
    let _ = builder.serve_connection(TokioIo::new(io), service).await;
}
