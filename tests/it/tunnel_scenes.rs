//! Ends of tunnels over each kind of client's connection: every scene runs on plain TCP, inside TLS
//! and, by `http2_paths`, on an HTTP/2 stream.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use wsplice::{Framing, Side, Timer, TunnelConfig, TunnelEnd};

use crate::support::{
    frames::{RawFrame, binary, close, masked, unmasked},
    rng::payload,
    serve::{Server, serve_axum},
    sides::{SIDES, from_side, opposite},
    tls::serve_tls,
};

use super::tunnel_paths::{Path, slow_frame, tcp, tls, tunnel};

const SHORT: Duration = Duration::from_millis(200);

/// How an upstream is lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Killed,
    Reset,
    /// In the middle of a frame.
    CutOff,
}

/// The code for a side whose other one is lost.
const fn code_after(lost: Side) -> u16 {
    match lost {
        Side::Upstream => 1011,
        _ => 1001,
    }
}

fn code(frame: &RawFrame) -> Option<u16> {
    frame.close().map(|(code, _)| code)
}

/// Runs every scene with clients of this kind, from both sides where that makes a difference.
pub(crate) async fn all<P: Path>(
    serve: impl AsyncFn(Router) -> Server,
    open: impl AsyncFn(SocketAddr) -> P,
) {
    for side in SIDES {
        silent_after_a_close(side, &serve, &open).await;
        slow_after_a_close(side, &serve, &open).await;
        breach_with_a_close_behind_it(side, &serve, &open).await;
    }
    for loss in [Loss::Killed, Loss::Reset, Loss::CutOff] {
        upstream_lost(loss, &serve, &open).await;
    }
    drain_behind_a_slow_frame(&serve, &open).await;
}

/// One side closes, and the other never answers.
async fn silent_after_a_close<P: Path>(
    first: Side,
    serve: impl AsyncFnOnce(Router) -> Server,
    open: impl AsyncFnOnce(SocketAddr) -> P,
) {
    let config = TunnelConfig::new().close_handshake_timeout(SHORT);
    let (proxy, mut client, mut upstream) = tunnel(config, serve, open).await;
    let bytes = from_side(first, close(4001, "enough"));
    let silent = opposite(first);
    let code = match first {
        Side::Client => {
            client.send(&bytes).await;
            assert_eq!(upstream.exactly(bytes.len()).await, bytes);
            let code = code(&slow_frame(&mut client).await);
            client.orderly_end().await;
            code
        }
        _ => {
            Path::send(&mut *upstream, &bytes).await;
            assert_eq!(client.exactly(bytes.len()).await, bytes);
            let code = code(&slow_frame(&mut *upstream).await);
            upstream.orderly_end().await;
            code
        }
    };
    assert_eq!(code, Some(code_after(silent)));
    let report = proxy.report().await;
    let end = TunnelEnd::Timeout(Timer::CloseHandshake, silent);
    assert_eq!((report.end, report.initiator), (end, first));
}

/// One side closes behind much that the other has to read first, and that answers in the end.
async fn slow_after_a_close<P: Path>(
    first: Side,
    serve: impl AsyncFnOnce(Router) -> Server,
    open: impl AsyncFnOnce(SocketAddr) -> P,
) {
    let config = TunnelConfig::new().close_handshake_timeout(SHORT);
    let (proxy, mut client, mut upstream) = tunnel(config, serve, open).await;
    match first {
        Side::Client => slow_answer(first, &mut client, &mut *upstream).await,
        _ => slow_answer(first, &mut *upstream, &mut client).await,
    }
    let report = proxy.report().await;
    assert_eq!((report.end, report.initiator), (TunnelEnd::Closed, first));
    assert_eq!(report.unanswered_close, None);
}

async fn slow_answer(first: Side, closer: &mut impl Path, reader: &mut impl Path) {
    let burst = from_side(first, binary(&payload(7, 1 << 20)));
    let question = from_side(first, close(4001, "enough"));
    let reading = async {
        assert!(slow_frame(reader).await.raw == burst, "other bytes");
        assert_eq!(slow_frame(reader).await.raw, question);
        let answer = from_side(opposite(first), close(4001, ""));
        reader.send(&answer).await;
        answer
    };
    let all = [&burst[..], &question].concat();
    let ((), answer) = tokio::join!(closer.send(&all), reading);
    assert_eq!(closer.exactly(answer.len()).await, answer);
}

/// A frame that breaks a rule, and a close frame behind it in one write.
async fn breach_with_a_close_behind_it<P: Path>(
    offender: Side,
    serve: impl AsyncFnOnce(Router) -> Server,
    open: impl AsyncFnOnce(SocketAddr) -> P,
) {
    let config = TunnelConfig::new().framing(Framing::Enforce);
    let (proxy, mut client, mut upstream) = tunnel(config, serve, open).await;
    match offender {
        Side::Client => breach(offender, &mut client, &mut *upstream).await,
        _ => breach(offender, &mut *upstream, &mut client).await,
    }
    let report = proxy.report().await;
    let is_violation = matches!(report.end, TunnelEnd::Violation(_, side) if side == offender);
    assert!(is_violation, "{report:?}");
    assert_eq!(report.initiator, offender);
}

async fn breach(offender: Side, source: &mut impl Path, other: &mut impl Path) {
    // RFC 6455 §5.1: the mask of the other side.
    let illegal = match offender {
        Side::Client => unmasked(binary(b"bare")),
        _ => masked(binary(b"masked")),
    };
    let behind = from_side(offender, close(1000, ""));
    source.send(&[illegal, behind].concat()).await;
    assert_eq!(code(&slow_frame(source).await), Some(1002));
    source.orderly_end().await;
    let told = code(&slow_frame(other).await);
    assert_eq!(told, Some(code_after(offender)));
    other
        .send(&from_side(opposite(offender), close(1000, "")))
        .await;
    other.orderly_end().await;
}

/// The upstream goes without a close frame.
async fn upstream_lost<P: Path>(
    loss: Loss,
    serve: impl AsyncFnOnce(Router) -> Server,
    open: impl AsyncFnOnce(SocketAddr) -> P,
) {
    let (proxy, mut client, mut upstream) = tunnel(TunnelConfig::new(), serve, open).await;
    let frame = unmasked(binary(&[7; 300]));
    match loss {
        Loss::Killed => drop(upstream),
        Loss::Reset => upstream.reset(),
        Loss::CutOff => {
            Path::send(&mut *upstream, &frame[..100]).await;
            assert_eq!(client.exactly(100).await, frame[..100]);
            drop(upstream);
        }
    }
    if let Loss::CutOff = loss {
        client.orderly_end().await;
        // The other direction is still open to the client, whose end may be one of its own: TLS
        // has it broken without a farewell.
        drop(client);
        assert_eq!(proxy.report().await.initiator, Side::Upstream);
        return;
    }
    assert_eq!(code(&slow_frame(&mut client).await), Some(1011));
    client.send(&masked(close(1011, ""))).await;
    client.orderly_end().await;
    let report = proxy.report().await;
    assert!(report.is_upstream_failure(), "{report:?}");
}

/// A drain while a frame to the client is under way: the close frame comes behind it.
async fn drain_behind_a_slow_frame<P: Path>(
    serve: impl AsyncFnOnce(Router) -> Server,
    open: impl AsyncFnOnce(SocketAddr) -> P,
) {
    let (proxy, mut client, mut upstream) = tunnel(TunnelConfig::new(), serve, open).await;
    let frame = unmasked(binary(&[7; 300]));
    Path::send(&mut *upstream, &frame[..100]).await;
    assert_eq!(client.exactly(100).await, frame[..100]);
    let drain = proxy.drain();
    let drained = tokio::spawn(async move { drain.run().await });
    // The upstream's own direction is between two frames.
    let to_upstream = slow_frame(&mut *upstream).await;
    assert_eq!(code(&to_upstream), Some(1001));
    for part in frame[100..].chunks(50) {
        Path::send(&mut *upstream, part).await;
        assert_eq!(client.exactly(part.len()).await, part);
    }
    assert_eq!(code(&slow_frame(&mut client).await), Some(1001));
    client.send(&masked(close(1001, ""))).await;
    Path::send(&mut *upstream, &unmasked(close(1001, ""))).await;
    client.orderly_end().await;
    upstream.orderly_end().await;
    let drained = drained.await.expect("the drain ran");
    assert_eq!((drained.closed, drained.aborted), (1, 0));
    assert_eq!(proxy.report().await.end, TunnelEnd::Drained);
}

#[tokio::test]
async fn every_end_of_a_client_on_plain_tcp() {
    all(serve_axum, tcp).await;
}

#[tokio::test]
async fn every_end_of_a_client_inside_tls() {
    all(serve_tls, tls).await;
}
