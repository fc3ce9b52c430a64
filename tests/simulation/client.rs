//! A client: a page in a browser that wants its WebSocket, and reconnects as pages do.

use std::{io, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout};
use wsplice::frame::CloseCode;

use super::{
    fleet::Fleet,
    link::pair,
    upstream::ANSWERED_BY,
    websocket::{Frame, WebSocket, header},
};

/// From one message to the next, on average.
const BETWEEN_MESSAGES: Duration = Duration::from_secs(90);

/// How long the connection may take to end once the close is answered; browsers wait for that.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// A tunnel that has lived for so long makes the next attempt a first one.
const STABLE: Duration = Duration::from_secs(5);

/// The longest pause after a first failure.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(1_500);

const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What comes of asking for a tunnel.
enum Answer {
    Opened(WebSocket, usize),
    Refused {
        status: u16,
        retry_after: Option<Duration>,
    },
}

/// How a tunnel ended.
#[derive(PartialEq, Eq)]
enum Ended {
    ByUs,
    NotByUs,
}

/// Comes after a while, and then lives as long as the fleet.
pub(crate) async fn live(fleet: Arc<Fleet>, client: usize, comes_after: Duration) {
    sleep(comes_after).await;
    let mut failures = 0;
    fleet.board.wants(client);
    loop {
        let asked = Instant::now();
        let pause = match ask(&fleet, client).await {
            Answer::Opened(socket, upstream) => {
                let opened = Instant::now();
                fleet.board.opens(client, upstream);
                if talk(&fleet, socket).await == Ended::ByUs {
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
            Answer::Refused {
                status,
                retry_after,
            } => {
                fleet.board.refused(status);
                let wanted = retry_after.unwrap_or_default();
                backoff(failures).max(wanted + Duration::from_secs(1).mul_f64(fastrand::f64()))
            }
        };
        failures += 1;
        sleep(pause).await;
    }
}

/// Connects to the client's proxy and shakes hands.
async fn ask(fleet: &Fleet, client: usize) -> Answer {
    // From 10 to 60 ms, and always the same for one client.
    let latency = Duration::from_millis(10 + (client as u64 * 7919) % 51);
    let (near, far) = pair(latency);
    fleet.proxies[client % fleet.proxies.len()].accept(far);
    let mut socket = WebSocket::client(near);
    let Ok(answer) = exchange(&mut socket).await else {
        return Answer::Refused {
            status: 0,
            retry_after: None,
        };
    };
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    let upstream = header(&answer, ANSWERED_BY).and_then(|number| number.parse().ok());
    if let (Some(101), Some(upstream)) = (status, upstream) {
        return Answer::Opened(socket, upstream);
    }
    let retry_after = header(&answer, "retry-after").and_then(|seconds| seconds.parse().ok());
    Answer::Refused {
        status: status.unwrap_or(0),
        retry_after: retry_after.map(Duration::from_secs),
    }
}

async fn exchange(socket: &mut WebSocket) -> io::Result<String> {
    socket.write(REQUEST).await?;
    socket.head().await
}

/// Says something now and then, until the session or the tunnel is over.
async fn talk(fleet: &Fleet, mut socket: WebSocket) -> Ended {
    let leaves = Instant::now() + fleet.session();
    let mut speaks = Instant::now() + about(BETWEEN_MESSAGES);
    let mut said = 0_u64;
    loop {
        tokio::select! {
            biased;
            frame = socket.next() => match frame {
                Ok(Some(Frame::Data(payload))) => hear(fleet, &payload, said),
                Ok(Some(Frame::Ping(ping))) => {
                    if let Some(pong) = ping.answer() {
                        // A tunnel that takes nothing any more soon says so itself.
                        let _ = socket.control(&pong).await;
                    }
                }
                Ok(Some(Frame::Pong)) => fleet.board.strange("a pong without a ping".into()),
                Ok(Some(Frame::Close(code))) => {
                    let _ = socket.close(code.unwrap_or(CloseCode::NORMAL)).await;
                    wait_for_the_end(&mut socket).await;
                    return Ended::NotByUs;
                }
                Ok(None) | Err(_) => return Ended::NotByUs,
            },
            () = sleep_until(speaks.min(leaves)) => {
                if Instant::now() >= leaves {
                    let _ = socket.close(CloseCode::NORMAL).await;
                    return Ended::ByUs;
                }
                said += 1;
                speaks += about(BETWEEN_MESSAGES);
                let _ = socket.send(&said.to_be_bytes()).await;
            }
        }
    }
}

fn hear(fleet: &Fleet, payload: &[u8], said: u64) {
    if payload == said.to_be_bytes() {
        fleet.board.echoed();
    } else if payload > &said.to_be_bytes()[..] {
        fleet
            .board
            .strange(format!("heard {payload:?}, said {said}"));
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
