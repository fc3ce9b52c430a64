//! Ends of tunnels over each kind of connection: every scene runs with clients on plain TCP, inside
//! TLS and, by `http2_paths`, on an HTTP/2 stream; and with upstreams inside TLS, by `tls_paths`, and
//! on an HTTP/2 stream.

use std::time::Duration;

use wsplice::{
    TunnelConfig,
    tunnel::{Framing, Side, Timer, TunnelEnd},
};

use crate::support::{
    frames::{RawFrame, binary, close, masked, unmasked},
    rng::payload,
    sides::{SIDES, from_side, opposite},
    tunnels::Events,
};

use super::tunnel_paths::{
    Clients, Leave, Path, Site, Tcp, TcpUpstreams, Tls, Upstreams, slow_frame,
};

const SHORT: Duration = Duration::from_millis(200);

/// How an upstream is lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Ended,
    Killed,
    Reset,
    /// Ended in the middle of a frame.
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

/// Runs every scene at such sites, from both sides where that makes a difference.
pub(crate) async fn all<C: Clients, U: Upstreams>() {
    for side in SIDES {
        silent_after_a_close::<C, U>(side).await;
        slow_after_a_close::<C, U>(side).await;
        breach_with_a_close_behind_it::<C, U>(side).await;
        drain_behind_a_slow_frame::<C, U>(side).await;
    }
    for loss in [Loss::Ended, Loss::Killed, Loss::Reset, Loss::CutOff] {
        upstream_lost::<C, U>(loss).await;
    }
}

/// One side closes, and the other never answers.
async fn silent_after_a_close<C: Clients, U: Upstreams>(first: Side) {
    let config = TunnelConfig::new().close_handshake_timeout(SHORT);
    let (site, mut client, mut upstream) = Site::<C, U>::opened(config).await;
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
            upstream.send(&bytes).await;
            assert_eq!(client.exactly(bytes.len()).await, bytes);
            let code = code(&slow_frame(&mut upstream).await);
            upstream.orderly_end().await;
            code
        }
    };
    assert_eq!(code, Some(code_after(silent)));
    let report = site.proxy.report().await;
    let end = TunnelEnd::Timeout(Timer::CloseHandshake, silent);
    assert_eq!((report.end, report.initiator), (end, first));
}

/// One side closes behind much that the other has to read first, and that answers in the end.
async fn slow_after_a_close<C: Clients, U: Upstreams>(first: Side) {
    let config = TunnelConfig::new().close_handshake_timeout(SHORT);
    let (site, mut client, mut upstream) = Site::<C, U>::opened(config).await;
    match first {
        Side::Client => slow_answer(first, &mut client, &mut upstream).await,
        _ => slow_answer(first, &mut upstream, &mut client).await,
    }
    let report = site.proxy.report().await;
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
async fn breach_with_a_close_behind_it<C: Clients, U: Upstreams>(offender: Side) {
    let config = TunnelConfig::new().framing(Framing::Enforce);
    let (site, mut client, mut upstream) = Site::<C, U>::opened(config).await;
    match offender {
        Side::Client => breach(offender, &mut client, &mut upstream).await,
        _ => breach(offender, &mut upstream, &mut client).await,
    }
    let report = site.proxy.report().await;
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
    let other_code = code(&slow_frame(other).await);
    assert_eq!(other_code, Some(code_after(offender)));
    other
        .send(&from_side(opposite(offender), close(1000, "")))
        .await;
    other.orderly_end().await;
}

/// The upstream goes without a close frame.
async fn upstream_lost<C: Clients, U: Upstreams>(loss: Loss) {
    let (site, mut client, mut upstream) = Site::<C, U>::opened(TunnelConfig::new()).await;
    let frame = unmasked(binary(&[7; 300]));
    match loss {
        Loss::Ended => upstream.end().await,
        Loss::Killed => upstream.kill().await,
        Loss::Reset => upstream.reset().await,
        Loss::CutOff => {
            upstream.send(&frame[..100]).await;
            assert_eq!(client.exactly(100).await, frame[..100]);
            upstream.end().await;
        }
    }
    if let Loss::CutOff = loss {
        client.orderly_end().await;
        // The other direction is still open to the client, whose end may be one of its own: TLS
        // has it broken without a farewell.
        drop(client);
        assert_eq!(site.proxy.report().await.initiator, Side::Upstream);
        return;
    }
    assert_eq!(code(&slow_frame(&mut client).await), Some(1011));
    client.send(&masked(close(1011, ""))).await;
    client.orderly_end().await;
    let report = site.proxy.report().await;
    assert!(report.is_upstream_failure(), "{report:?}");
}

/// A drain while a frame of one side is under way and other tunnels are quiet: the close frame comes
/// behind the frame, and the quiet ones do not wait for it.
async fn drain_behind_a_slow_frame<C: Clients, U: Upstreams>(sender: Side) {
    const QUIET: usize = 3;
    let config = TunnelConfig::new();
    let (mut site, mut client, mut upstream) = Site::<C, U>::opened(config).await;
    let mut quiet = Vec::new();
    for _ in 0..QUIET {
        quiet.push(site.open().await);
    }
    let frame = from_side(sender, binary(&[7; 300]));
    match sender {
        Side::Client => pass(&frame[..100], &mut client, &mut upstream).await,
        _ => pass(&frame[..100], &mut upstream, &mut client).await,
    }
    let drain = site.proxy.drain();
    let drained = tokio::spawn(async move { drain.run().await });
    for (client, upstream) in &mut quiet {
        part(client, upstream).await;
    }
    let is_quiet_over = |events: &Events| events.closed.len() == QUIET;
    site.proxy.wait_for("the quiet ends", is_quiet_over).await;
    match sender {
        Side::Client => end_of_frame(sender, &frame[100..], &mut client, &mut upstream).await,
        _ => end_of_frame(sender, &frame[100..], &mut upstream, &mut client).await,
    }
    let drained = drained.await.expect("the drain ran");
    assert_eq!((drained.closed, drained.aborted), (QUIET + 1, 0));
    let events = site.proxy.events();
    let mut ends = events.closed.iter().map(|(_, report)| &report.end);
    assert!(ends.all(|end| *end == TunnelEnd::Drained), "{events:?}");
}

async fn pass(bytes: &[u8], sender: &mut impl Path, reader: &mut impl Path) {
    sender.send(bytes).await;
    assert_eq!(reader.exactly(bytes.len()).await, bytes);
}

/// The end of the frame that a drain waits for, then the closes of both sides.
async fn end_of_frame(from: Side, rest: &[u8], sender: &mut impl Path, reader: &mut impl Path) {
    // The direction to the sender is between two frames.
    assert_eq!(code(&slow_frame(sender).await), Some(1001));
    for part in rest.chunks(50) {
        pass(part, sender, reader).await;
    }
    assert_eq!(code(&slow_frame(reader).await), Some(1001));
    reader
        .send(&from_side(opposite(from), close(1001, "")))
        .await;
    sender.send(&from_side(from, close(1001, ""))).await;
    reader.orderly_end().await;
    sender.orderly_end().await;
}

/// Both ends get the close of a drain, and answer it.
async fn part(client: &mut impl Path, upstream: &mut impl Path) {
    assert_eq!(code(&slow_frame(client).await), Some(1001));
    assert_eq!(code(&slow_frame(upstream).await), Some(1001));
    client.send(&masked(close(1001, ""))).await;
    upstream.send(&unmasked(close(1001, ""))).await;
    client.orderly_end().await;
    upstream.orderly_end().await;
}

#[tokio::test]
async fn every_end_on_plain_tcp() {
    all::<Tcp, TcpUpstreams>().await;
}

#[tokio::test]
async fn every_end_of_a_client_inside_tls() {
    all::<Tls, TcpUpstreams>().await;
}
