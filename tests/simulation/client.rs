//! A client: a page in a browser that wants its WebSocket, and reconnects as pages do.

use std::{io, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout};
use wsplice::frame::CloseCode;

use super::{
    fleet::Fleet,
    link::{Reads, pair},
    upstream::{ANSWERED_BY, POISON},
    websocket::{Frame, WebSocket, header},
};

/// Average time between two messages.
const BETWEEN_MESSAGES: Duration = Duration::from_secs(90);

/// Time for the connection to end once the close is answered; browsers wait for that long.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// A tunnel that has lived for so long makes the next attempt a first one.
const STABLE: Duration = Duration::from_secs(5);

/// The longest pause after a first failure.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(1_500);

/// The path of the clients.
const PATH: &str = "/ws";

/// Outcome of a handshake.
enum Outcome {
    Opened(WebSocket, usize),
    Refused {
        status: u16,
        retry_after: Option<Duration>,
    },
}

/// End of a tunnel, as the client sees it.
#[derive(PartialEq, Eq)]
enum SessionEnd {
    ByUs,
    NotByUs,
}

/// Runs a client: it arrives after a while, and then lives as long as the fleet.
pub(crate) async fn live(fleet: Arc<Fleet>, client: usize, comes_after: Duration) {
    sleep(comes_after).await;
    let mut failures = 0;
    fleet.board.wants(client);
    loop {
        let asked = Instant::now();
        let pause = match open_tunnel(&fleet, client, PATH).await {
            Outcome::Opened(socket, upstream) => {
                let opened = Instant::now();
                fleet.board.opens(client, upstream);
                if exchange_messages(&fleet, socket).await == SessionEnd::ByUs {
                    fleet.board.leaves(client);
                    failures = 0;
                    sleep(about(Duration::from_secs(2))).await;
                    fleet.board.wants(client);
                    continue;
                }
                // What failed during the handshake counts too: the pool may have learned of it since.
                let failed = fleet.upstreams[upstream].failed_since(asked);
                fleet.board.loses(client, failed);
                if opened.elapsed() >= STABLE {
                    failures = 0;
                }
                backoff(failures)
            }
            Outcome::Refused {
                status,
                retry_after,
            } => {
                fleet.board.refused(client % fleet.proxies.len(), status);
                let wanted = retry_after.unwrap_or_default();
                backoff(failures).max(wanted + Duration::from_secs(1).mul_f64(fastrand::f64()))
            }
        };
        failures += 1;
        sleep(pause).await;
    }
}

/// Runs a client that asks for a poisonous path again and again, as often as a page does that has
/// no success.
pub(crate) async fn poison(fleet: Arc<Fleet>, client: usize, most_patience: u32) {
    let mut failures = 0;
    loop {
        sleep(backoff(failures)).await;
        match open_tunnel(&fleet, client, POISON).await {
            Outcome::Opened(..) => fleet
                .board
                .unexpected("a tunnel to a poisonous path".into()),
            Outcome::Refused { .. } => failures = (failures + 1).min(most_patience),
        }
    }
}

/// Connects to the client's proxy and performs the handshake.
async fn open_tunnel(fleet: &Fleet, client: usize, path: &str) -> Outcome {
    // From 10 to 60 ms, and always the same for one client.
    let latency = Duration::from_millis(10 + (client as u64 * 7919) % 51);
    let (near, far) = pair(latency, Reads::Whole);
    fleet.proxies[client % fleet.proxies.len()].accept(far, client);
    let mut socket = WebSocket::client(near);
    let Ok(answer) = exchange(&mut socket, path).await else {
        return Outcome::Refused {
            status: 0,
            retry_after: None,
        };
    };
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    let upstream = header(&answer, ANSWERED_BY).and_then(|number| number.parse().ok());
    if let (Some(101), Some(upstream)) = (status, upstream) {
        return Outcome::Opened(socket, upstream);
    }
    let retry_after = header(&answer, "retry-after").and_then(|seconds| seconds.parse().ok());
    Outcome::Refused {
        status: status.unwrap_or(0),
        retry_after: retry_after.map(Duration::from_secs),
    }
}

async fn exchange(socket: &mut WebSocket, path: &str) -> io::Result<String> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write(request.as_bytes()).await?;
    socket.head().await
}

/// Sends a message now and then, until the session or the tunnel is over.
async fn exchange_messages(fleet: &Fleet, mut socket: WebSocket) -> SessionEnd {
    let leaves = Instant::now() + fleet.session();
    let mut speaks = Instant::now() + about(BETWEEN_MESSAGES);
    let mut sent = 0_u64;
    loop {
        tokio::select! {
            biased;
            frame = socket.next() => match frame {
                Ok(Some(Frame::Data(payload))) => check_echo(fleet, &payload, sent),
                Ok(Some(Frame::Ping(ping))) => {
                    if let Some(pong) = ping.answer() {
                        // A tunnel that takes no more bytes will soon report that itself.
                        let _ = socket.control(&pong).await;
                    }
                }
                Ok(Some(Frame::Pong)) => fleet.board.unexpected("a pong without a ping".into()),
                Ok(Some(Frame::Close(code))) => {
                    let _ = socket.close(code.unwrap_or(CloseCode::NORMAL)).await;
                    wait_for_the_end(&mut socket).await;
                    return SessionEnd::NotByUs;
                }
                Ok(None) | Err(_) => return SessionEnd::NotByUs,
            },
            () = sleep_until(speaks.min(leaves)) => {
                if Instant::now() >= leaves {
                    let _ = socket.close(CloseCode::NORMAL).await;
                    return SessionEnd::ByUs;
                }
                sent += 1;
                speaks += about(BETWEEN_MESSAGES);
                let _ = socket.send(&sent.to_be_bytes()).await;
            }
        }
    }
}

fn check_echo(fleet: &Fleet, payload: &[u8], sent: u64) {
    if payload == sent.to_be_bytes() {
        fleet.board.echoed();
    } else if payload > &sent.to_be_bytes()[..] {
        fleet
            .board
            .unexpected(format!("received {payload:?}, sent {sent}"));
    }
}

async fn wait_for_the_end(socket: &mut WebSocket) {
    let end = async { while let Ok(Some(_)) = socket.next().await {} };
    let _ = timeout(LAST_WAIT, end).await;
}

/// 1 s, doubled with each failure up to 30 s; half as long to half as long again.
fn backoff(failures: u32) -> Duration {
    let pause = Duration::from_secs(1 << failures.min(5));
    about(pause.min(Duration::from_secs(30)))
}

/// Half as long to half as long again.
fn about(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64())
}
