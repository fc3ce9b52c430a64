//! Sides that do not read: what counts as a stall, and what a stalled direction may hold.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream, duplex},
    time::Instant,
};
use wsplice::{
    TunnelConfig,
    connect::Transport,
    frame::{CloseCode, CloseFrame},
    tunnel::{Framing, Side, Timer, Tunnel, TunnelEnd},
};

use super::{
    clock_kit::{Rig, SIDES, from_side, opposite, secs},
    support::frames::{binary, close},
};

/// A tunnel whose leg to this side buffers its writes, and both far ends: that side's first.
fn buffering(side: Side) -> (Tunnel, DuplexStream, DuplexStream) {
    let (near, far) = duplex(16);
    let (other_near, other_far) = duplex(64 * 1024);
    let buffered = Transport::new(BufStream::with_capacity(64, 8192, near));
    let plain = Transport::new(other_near);
    let tunnel = match side {
        Side::Client => Tunnel::builder(buffered, plain).build(),
        _ => Tunnel::builder(plain, buffered).build(),
    };
    (tunnel, far, other_far)
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_stuck_in_a_buffering_stream_are_a_stall() {
    for stalled in SIDES {
        let began = Instant::now();
        let (tunnel, _far, mut other) = buffering(stalled);
        let tunnel = tokio::spawn(tunnel);
        // More than the pipe takes, and less than the buffer does; and then a little more, which
        // the buffer takes too.
        let frame = from_side(opposite(stalled), binary(&[7; 100]));
        other.write_all(&frame).await.unwrap();
        tokio::time::sleep(secs(30)).await;
        other.write_all(&frame).await.unwrap();
        let report = tunnel.await.unwrap();
        assert_eq!(report.end, TunnelEnd::Timeout(Timer::Write, stalled));
        // The other side gets a close frame, and does not answer.
        assert_eq!(began.elapsed(), secs(65), "{stalled}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_buffering_stream_that_gets_rid_of_its_bytes_in_time_is_none() {
    for slow in SIDES {
        let (tunnel, mut far, mut other) = buffering(slow);
        let tunnel = tokio::spawn(tunnel);
        let frame = from_side(opposite(slow), binary(&[7; 100]));
        for _ in 0..4 {
            other.write_all(&frame).await.unwrap();
            tokio::time::sleep(secs(50)).await;
            let mut got = vec![0; frame.len()];
            far.read_exact(&mut got).await.unwrap();
            assert!(got == frame);
        }
        assert!(!tunnel.is_finished(), "{slow}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_buffering_stream_that_takes_more_after_it_was_full_is_no_stall() {
    for slow in SIDES {
        let (tunnel, mut far, mut other) = buffering(slow);
        let tunnel = tokio::spawn(tunnel);
        let frame = from_side(opposite(slow), binary(&vec![7; 60_000]));
        other.write_all(&frame).await.unwrap();
        // Slower than the write timeout for all of it, and faster for one buffer.
        let mut got = vec![0; frame.len()];
        for part in got.chunks_mut(200) {
            far.read_exact(part).await.unwrap();
            tokio::time::sleep(secs(1)).await;
        }
        assert!(got == frame, "{slow}");
        assert!(!tunnel.is_finished(), "{slow}");
    }
}

/// Sends as much as the tunnel takes, whose sink takes nothing.
async fn fill(tunnel: &mut Pin<Box<Tunnel>>, source: &mut DuplexStream, bytes: &[u8]) {
    let mut sent = 0;
    let mut idle = 0;
    while idle < 10 {
        idle += 1;
        tokio::task::yield_now().await;
        poll_fn(|cx| {
            assert!(tunnel.as_mut().poll(cx).is_pending());
            let write = tokio::io::AsyncWrite::poll_write(Pin::new(source), cx, &bytes[sent..]);
            if let Poll::Ready(written) = write {
                sent += written.unwrap();
                idle = 0;
            }
            Poll::Ready(())
        })
        .await;
        assert!(sent < bytes.len(), "nothing holds the sender up");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_side_is_bounded_by_a_setting_and_shrinks() {
    for (max, bound) in [(None, 256 * 1024), (Some(8 * 1024), 8 * 1024)] {
        let config = match max {
            Some(max) => TunnelConfig::new().max_buffered(max),
            None => TunnelConfig::new(),
        };
        let (client, mut far_client) = duplex(1 << 20);
        let (upstream, mut far_upstream) = duplex(64);
        let tunnel = Tunnel::builder(Transport::new(client), Transport::new(upstream));
        let mut tunnel = Box::pin(tunnel.config(config).build());
        let bytes = from_side(Side::Client, binary(&vec![7; 4 << 20]));
        fill(&mut tunnel, &mut far_client, &bytes).await;
        let held = tunnel.buffered();
        assert!((bound / 2..=bound).contains(&held), "{held}");
        // A reader that takes a little at a time never has as much waiting for it again.
        let mut most = 0;
        let mut little = vec![0; 64];
        for _ in 0..4 * bound / 64 {
            far_upstream.read_exact(&mut little).await.unwrap();
            // With a budget of its own, or tokio makes ready pipes wait.
            tokio::task::yield_now().await;
            poll_fn(|cx| Poll::Ready(tunnel.as_mut().poll(cx).is_pending())).await;
            let now = tunnel.buffered();
            assert!(now <= held, "{now}");
            most = now;
        }
        assert!(most <= 4 * 1024, "{most} of {bound}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_echoes_has_its_whole_time_after_the_client_reads_again() {
    let (client, mut far_client) = duplex(1024);
    let (upstream, mut far_upstream) = duplex(1024);
    let tunnel = Tunnel::new(Transport::new(client), Transport::new(upstream));
    let tunnel = tokio::spawn(tunnel);
    let up = from_side(Side::Client, binary(&[1; 3000]));
    let down = from_side(Side::Upstream, binary(&[2; 3000]));
    // The upstream's clock is older than the client's, and neither is read.
    far_client.write_all(&up).await.unwrap();
    tokio::time::sleep(secs(1)).await;
    far_upstream.write_all(&down).await.unwrap();
    tokio::time::sleep(secs(58)).await;
    let mut got = vec![0; down.len()];
    far_client.read_exact(&mut got).await.unwrap();
    assert!(got == down);
    // It is busy for longer than the second that was left.
    tokio::time::sleep(secs(50)).await;
    let mut got = vec![0; up.len()];
    far_upstream.read_exact(&mut got).await.unwrap();
    assert!(got == up);
    assert!(!tunnel.is_finished());
}

/// A tunnel to whose other side no more bytes can be sent, when the source ends inside the header
/// of a frame; and all bytes of the source.
async fn ended_behind_a_stall(source: Side) -> (Rig, Vec<u8>) {
    let mut bytes = from_side(source, binary(&[7; 94]));
    let config = TunnelConfig::new().framing(Framing::Enforce);
    let mut rig = Rig::with_capacity(config, bytes.len());
    // Under rules a header waits for its rest, and the end of the source comes instead.
    bytes.push(0x82);
    rig.end(source).send_raw(&bytes).await;
    rig.end(source).finish().await;
    tokio::time::sleep(secs(1)).await;
    (rig, bytes)
}

#[tokio::test(start_paused = true)]
async fn an_end_behind_a_stall_is_blamed_before_a_later_command() {
    for source in SIDES {
        let (mut rig, bytes) = ended_behind_a_stall(source).await;
        rig.handle()
            .close(CloseFrame::new(CloseCode::GOING_AWAY, ""));
        tokio::time::sleep(secs(1)).await;
        assert_eq!(rig.end(opposite(source)).rest().await, bytes);
        let report = rig.report().await;
        let blame = (report.end, report.initiator);
        assert_eq!(blame, (TunnelEnd::Requested, source));
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_behind_a_stall_is_blamed_before_a_later_close() {
    for source in SIDES {
        let (mut rig, bytes) = ended_behind_a_stall(source).await;
        let other = rig.end(opposite(source));
        other.send(close(1000, "")).await;
        tokio::time::sleep(secs(1)).await;
        assert_eq!(rig.end(opposite(source)).rest().await, bytes);
        let report = rig.report().await;
        let blame = (report.end, report.initiator);
        assert_eq!(blame, (TunnelEnd::TruncatedFrame(source), source));
    }
}
