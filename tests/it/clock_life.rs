//! What counts as life, and pings for peers that break the rules.

use wsplice::{
    KeepAlive,
    tunnel::{Side, Timer, TunnelEnd},
};

use super::{
    clock_kit::{Rig, SIDES, from_side, ms, only, opposite, secs, steady},
    support::frames::{binary, close, fragments, ping, pong, text},
};

/// What a side hears when the other one is lost.
fn code_after(lost: Side) -> u16 {
    match lost {
        Side::Upstream => 1011,
        _ => 1001,
    }
}

/// Ping after a second, pong within another.
fn hasty() -> KeepAlive {
    steady().interval(secs(1)).pong_timeout(secs(1))
}

#[tokio::test(start_paused = true)]
async fn a_pong_with_a_payload_of_its_own_is_swallowed_where_the_other_side_asked_for_none() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        for odd in [&b""[..], b"\0\0\0\0\0\0\0\0"] {
            rig.end(side).ping().await;
            tokio::time::sleep(secs(2)).await;
            let (leg, other) = rig.ends(side);
            leg.send(pong(odd)).await;
            other.is_quiet_for(secs(15)).await;
        }
        // This one answers no ping: it is the endpoint's own.
        rig.passes(side, pong(b"heartbeat")).await;
        // The other side asks, so this one is for it, and the next one for us.
        rig.end(side).ping().await;
        rig.passes(opposite(side), ping(b"?")).await;
        rig.passes(side, pong(b"")).await;
        let (leg, other) = rig.ends(side);
        leg.send(pong(b"")).await;
        other.is_quiet_for(secs(5)).await;
        rig.passes(side, text("and on")).await;
    }
}

/// A pong must echo the ping (RFC 6455 §5.5.3). One that is empty breaks the rule, but shows that the
/// peer lives, and is meant for us.
#[tokio::test(start_paused = true)]
async fn an_empty_pong_answers_a_ping_of_ours_and_measures_no_round_trip_rfc6455_5_5_3() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        for round in 0..3 {
            rig.end(side).ping().await;
            assert_eq!(rig.elapsed(), secs(20 + 25 * round), "{side}");
            tokio::time::sleep(secs(5)).await;
            let (leg, other) = rig.ends(side);
            leg.send(pong(b"")).await;
            // The pong timeout comes and goes, and the next ping is due an interval later.
            other.is_quiet_for(secs(19)).await;
        }
        rig.end(side).send(close(1000, "")).await;
        rig.end(opposite(side)).frame().await;
        rig.end(opposite(side)).send(close(1000, "")).await;
        let report = rig.report().await;
        assert_eq!((report.client_rtt, report.upstream_rtt), (None, None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_has_closed_owes_no_pong_rfc6455_5_5_2() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        rig.end(side).ping().await;
        rig.passes(side, close(1001, "")).await;
        // The pong timeout comes and goes.
        rig.end(side).is_quiet_for(secs(29)).await;
        let (leg, other) = rig.ends(side);
        assert_eq!(leg.close_code().await, code_after(opposite(side)));
        other.end_of_stream().await;
        let report = rig.report().await;
        let end = TunnelEnd::Timeout(Timer::CloseHandshake, opposite(side));
        assert_eq!((report.end, report.initiator), (end, side));
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_behind_half_a_frame_does_not_wait_for_ever() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        let half = from_side(opposite(side), binary(&[3; 300]))[..100].to_vec();
        let (_, other) = rig.ends(side);
        other.send_raw(&half).await;
        assert_eq!(other.close_code().await, 1008, "it left a frame unfinished");
        assert_eq!(rig.elapsed(), secs(80), "interval and write timeout");
        assert!(rig.end(side).rest().await == half);
        let report = rig.report().await;
        let stuck = opposite(side);
        assert_eq!(report.end, TunnelEnd::Timeout(Timer::Frame, stuck));
        assert_eq!(report.initiator, stuck);
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_behind_half_a_frame_does_not_wait_for_ever_without_a_write_timeout() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()).write_timeout(None));
        let half = from_side(opposite(side), binary(&[3; 300]))[..100].to_vec();
        let (_, other) = rig.ends(side);
        other.send_raw(&half).await;
        assert_eq!(other.close_code().await, 1008);
        assert_eq!(rig.elapsed(), secs(80), "interval and a minute");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_is_due_is_not_sent_to_a_side_that_has_closed_rfc6455_5_5_2() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        let frame = from_side(opposite(side), binary(&[3; 300]));
        let (leg, other) = rig.ends(side);
        other.send_raw(&frame[..100]).await;
        // The ping is due at 20 s, and has to wait for the end of the frame.
        tokio::time::sleep(secs(25)).await;
        leg.send(close(1000, "")).await;
        assert_eq!(other.frame().await.close(), Some((1000, String::new())));
        other.send_raw(&frame[100..]).await;
        other.send(close(1000, "")).await;
        assert!(leg.exactly(frame.len()).await == frame);
        assert_eq!(leg.frame().await.close(), Some((1000, String::new())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_alive_while_what_waits_for_it_shrinks() {
    for side in SIDES {
        // 64 KiB a second through a pipe of 8 KiB.
        let mut rig = Rig::with_capacity(only(side, hasty()), 8 * 1024);
        let burst = from_side(opposite(side), binary(&vec![7; 1 << 20]));
        let (leg, other) = rig.ends(side);
        let write = other.send_raw(&burst);
        let read = async {
            let mut got = Vec::new();
            while got.len() < burst.len() {
                let len = 8192.min(burst.len() - got.len());
                got.extend(leg.exactly(len).await);
                tokio::time::sleep(ms(125)).await;
            }
            got
        };
        let ((), got) = tokio::join!(write, read);
        assert!(got == burst, "{side}");
        rig.end(side).answer_ping().await;
        rig.passes(side, text("alive")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pong_behind_a_burst_may_take_as_long_as_a_write() {
    for side in SIDES {
        // The pipe takes all at once, as the kernel's buffers do, and the reader needs 16 s.
        let mut rig = Rig::with_capacity(only(side, hasty()), 2 << 20);
        let burst = from_side(opposite(side), binary(&vec![7; 1 << 20]));
        let (leg, other) = rig.ends(side);
        other.send_raw(&burst).await;
        let mut got = Vec::new();
        while got.len() < burst.len() {
            let len = (64 * 1024).min(burst.len() - got.len());
            got.extend(leg.exactly(len).await);
            tokio::time::sleep(secs(1)).await;
        }
        assert!(got == burst, "{side}");
        leg.answer_ping().await;
        rig.passes(side, text("alive")).await;
        // With nothing before it, it is due as ever.
        rig.end(side).ping().await;
        let report = rig.report().await;
        assert_eq!(report.end, TunnelEnd::Timeout(Timer::Pong, side));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_is_dead_although_bytes_wait_for_it() {
    for side in SIDES {
        let keep_alive = steady().interval(secs(5)).pong_timeout(secs(5));
        let mut rig = Rig::with_capacity(only(side, keep_alive), 1024);
        rig.end(side).ping().await;
        let frame = from_side(opposite(side), binary(&[7; 1500]));
        let (_, other) = rig.ends(side);
        other.send_raw(&frame).await;
        assert_eq!(other.close_code().await, code_after(side));
        assert_eq!(rig.elapsed(), secs(11), "looked at twice");
        rig.end(side).rest().await;
        assert!(!rig.end(side).was_shut_down());
        let report = rig.report().await;
        assert_eq!(report.end, TunnelEnd::Timeout(Timer::Pong, side));
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_waits_for_the_end_of_a_message_if_asked_to() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady().between_messages(secs(3))));
        let parts = fragments(&["one", "two", "three"]);
        for part in &parts[..2] {
            rig.passes(opposite(side), part.clone()).await;
            rig.end(side).is_quiet_for(secs(11)).await;
        }
        rig.passes(opposite(side), parts[2].clone()).await;
        rig.end(side).answer_ping().await;
        assert_eq!(rig.elapsed(), secs(22), "at the message's end");
        // A message that does not end is not waited for any longer.
        rig.passes(opposite(side), parts[0].clone()).await;
        rig.end(side).answer_ping().await;
        assert_eq!(rig.elapsed(), secs(45));
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_finds_the_end_of_a_message_inside_a_chunk() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady().between_messages(secs(3))));
        let raw = |parts: Vec<_>| -> Vec<Vec<u8>> {
            let raw = parts
                .into_iter()
                .map(|part| from_side(opposite(side), part));
            raw.collect()
        };
        let begun = raw(fragments(&["a", "b", "c"]));
        let next = raw(fragments(&["x", "y"]));
        let (leg, other) = rig.ends(side);
        other.send_raw(&begun[0]).await;
        leg.exactly(begun[0].len()).await;
        leg.is_quiet_for(secs(21)).await;
        // One chunk: the rest of the message, and the beginning of the next.
        let chunk = [&begun[1][..], &begun[2], &next[0]].concat();
        other.send_raw(&chunk).await;
        assert_eq!(leg.frame().await.raw, begun[1]);
        assert_eq!(leg.frame().await.raw, begun[2]);
        leg.answer_ping().await;
        assert_eq!(leg.frame().await.raw, next[0], "{side}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_pongs_is_pinged_on_and_not_dead() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady().without_pong_timeout()));
        for round in 1..10 {
            rig.end(side).ping().await;
            assert_eq!(rig.elapsed(), secs(20 * round));
        }
        rig.passes(side, text("I live")).await;
    }
}
