//! The closing handshake of two endpoints, and of a proxy with each (RFC 6455 §7.1): every wait in
//! it has a bound, which runs from the moment at which the frame was handed over.

use std::io::ErrorKind::ConnectionReset;

use wsplice::{
    TunnelConfig,
    tunnel::{Side, Timer, TunnelEnd},
};

use super::{
    clock_kit::{Rig, SIDES, from_side, ms, opposite, secs, steady},
    support::frames::{binary, close, text},
};

fn code_after(lost: Side) -> u16 {
    match lost {
        Side::Upstream => 1011,
        _ => 1001,
    }
}

/// A tunnel that the proxy itself closes with 1001 at this time.
fn closed_at(time: u64) -> TunnelConfig {
    TunnelConfig::new()
        .max_lifetime(secs(time))
        .lifetime_jitter(0.0)
}

#[tokio::test(start_paused = true)]
async fn both_have_closed_and_nobody_hangs_up() {
    for first in SIDES {
        for config in [
            TunnelConfig::new(),
            TunnelConfig::new().keep_alive(steady()),
        ] {
            let mut rig = Rig::new(config);
            rig.passes(first, close(1000, "bye")).await;
            tokio::time::sleep(secs(2)).await;
            rig.passes(opposite(first), close(1000, "")).await;
            for side in SIDES {
                rig.end(side).end_of_stream().await;
                assert!(rig.end(side).was_shut_down());
            }
            assert_eq!(rig.elapsed(), secs(7), "the close timeout");
            let report = rig.report().await;
            assert_eq!((report.end, report.initiator), (TunnelEnd::Closed, first));
            assert_eq!(report.unanswered_close, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_and_a_silent_peer() {
    for first in SIDES {
        for config in [
            TunnelConfig::new(),
            TunnelConfig::new().keep_alive(steady().interval(secs(7))),
        ] {
            let mut rig = Rig::new(config);
            let silent = opposite(first);
            rig.passes(first, close(1000, "bye")).await;
            let (closer, other) = rig.ends(first);
            assert_eq!(closer.close_code().await, code_after(silent));
            closer.end_of_stream().await;
            other.end_of_stream().await;
            assert!(closer.was_shut_down() && !other.was_shut_down());
            assert_eq!(rig.elapsed(), secs(30));
            let report = rig.report().await;
            let end = TunnelEnd::Timeout(Timer::CloseHandshake, silent);
            assert_eq!((report.end.clone(), report.initiator), (end, first));
            assert!(!report.is_upstream_failure());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_and_a_peer_that_talks_on() {
    for first in SIDES {
        let config = TunnelConfig::new().close_handshake_timeout(secs(8));
        let mut rig = Rig::new(config);
        rig.passes(first, close(1000, "bye")).await;
        for _ in 0..7 {
            tokio::time::sleep(secs(1)).await;
            rig.passes(opposite(first), text("one more thing")).await;
        }
        let closer = rig.end(first);
        assert_eq!(closer.close_code().await, code_after(opposite(first)));
        assert_eq!(rig.elapsed(), secs(8), "what it says prolongs nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_and_a_slow_peer() {
    for first in SIDES {
        let mut rig = Rig::with_capacity(TunnelConfig::new(), 1024);
        let slow = opposite(first);
        let frame = from_side(first, binary(&[7; 4000]));
        let bye = from_side(first, close(1000, "bye"));
        let (closer, reader) = rig.ends(first);
        let write = async {
            closer.send_raw(&frame).await;
            closer.send_raw(&bye).await;
        };
        let read = async {
            let mut got = Vec::new();
            while got.len() < frame.len() + bye.len() {
                tokio::time::sleep(secs(10)).await;
                let len = 400.min(frame.len() + bye.len() - got.len());
                got.extend(reader.exactly(len).await);
            }
            got
        };
        let ((), got) = tokio::join!(write, read);
        assert!(got == [&frame[..], &bye].concat(), "nothing is cut");
        assert!(rig.elapsed() > secs(100));
        // The close frame was handed over before the last bytes were read.
        rig.passes(slow, close(1000, "")).await;
        rig.end(slow).finish().await;
        rig.end(first).end_of_stream().await;
        let report = rig.report().await;
        assert_eq!((report.end, report.initiator), (TunnelEnd::Closed, first));
    }
}

#[tokio::test(start_paused = true)]
async fn the_close_timeout_runs_from_when_the_frame_was_handed_over() {
    for slow in SIDES {
        let mut rig = Rig::with_capacity(closed_at(30), 1024);
        let frame = from_side(opposite(slow), binary(&[7; 1500]));
        let (reader, other) = rig.ends(slow);
        other.send_raw(&frame).await;
        // The other one answers at once, which is read although the slow one holds its bytes up.
        let prompt = async {
            assert_eq!(other.close_code().await, 1001);
            other.send(close(1001, "")).await;
            other.end_of_stream().await;
        };
        let late = async {
            tokio::time::sleep(secs(50)).await;
            assert!(reader.exactly(frame.len()).await == frame);
            assert_eq!(reader.close_code().await, 1001);
            tokio::time::sleep(secs(4)).await;
            reader.send(close(1001, "")).await;
            reader.end_of_stream().await;
        };
        tokio::join!(prompt, late);
        for side in SIDES {
            assert!(rig.end(side).was_shut_down(), "{side}, {slow} slow");
        }
        let report = rig.report().await;
        assert_eq!(report.unanswered_close, None, "{slow}");
        assert_eq!(rig.elapsed(), secs(54));
    }
}

#[tokio::test(start_paused = true)]
async fn a_leg_that_does_not_answer_ours_is_cut_and_said_to_be() {
    for silent in SIDES {
        let mut rig = Rig::new(closed_at(30));
        let (leg, other) = rig.ends(silent);
        assert_eq!(other.close_code().await, 1001);
        other.send(close(1001, "")).await;
        assert_eq!(leg.close_code().await, 1001);
        leg.end_of_stream().await;
        assert!(!leg.was_shut_down());
        assert_eq!(rig.elapsed(), secs(35));
        assert_eq!(rig.report().await.unanswered_close, Some(silent));
    }
}

#[tokio::test(start_paused = true)]
async fn a_closer_that_breaks_is_no_failure_and_the_other_is_still_waited_for() {
    for first in SIDES {
        let mut rig = Rig::new(TunnelConfig::new());
        rig.passes(first, close(1000, "bye")).await;
        rig.end(first).fail_reads(ConnectionReset);
        let other = rig.end(opposite(first));
        other.end_of_stream().await;
        assert!(other.was_shut_down());
        other.send(close(1000, "")).await;
        let report = rig.report().await;
        assert_eq!((report.end, report.initiator), (TunnelEnd::Closed, first));
        assert_eq!(rig.elapsed(), secs(0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_breaks_over_a_close_frame_was_not_the_first_cause() {
    for first in SIDES {
        let mut rig = Rig::new(TunnelConfig::new());
        let broken = opposite(first);
        rig.passes(first, close(1000, "bye")).await;
        rig.end(broken).fail_reads(ConnectionReset);
        let report = rig.report().await;
        let end = TunnelEnd::Broken(broken, ConnectionReset);
        assert_eq!((report.end.clone(), report.initiator), (end, first));
        assert!(!report.is_upstream_failure());
    }
}

#[tokio::test(start_paused = true)]
async fn an_aborted_leg_is_dropped_at_once() {
    for dead in SIDES {
        let config = TunnelConfig::new().close_timeout(secs(3600));
        let mut rig = Rig::new(config);
        let leg = rig.end(dead);
        leg.fail_reads(ConnectionReset);
        leg.end_of_stream().await;
        assert_eq!(rig.elapsed(), secs(0), "no answer is waited for");
        if dead == Side::Upstream {
            let client = rig.end(Side::Client);
            assert_eq!(client.close_code().await, 1011);
            client.is_quiet_for(secs(1000)).await;
            client.send(close(1011, "")).await;
        }
        let end = TunnelEnd::Broken(dead, ConnectionReset);
        assert_eq!(rig.report().await.end, end);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_behind_our_close_does_not_count_as_passed() {
    for side in SIDES {
        let mut rig = Rig::new(closed_at(1));
        let frame = from_side(side, binary(&[7; 100]));
        let (source, sink) = rig.ends(side);
        source.send_raw(&frame[..50]).await;
        assert!(sink.exactly(50).await == frame[..50]);
        tokio::time::sleep(secs(2)).await;
        // The end of the frame and the beginning of another, in one chunk.
        source
            .send_raw(&[&frame[50..], &frame[..30]].concat())
            .await;
        assert!(sink.exactly(frame.len() - 50).await == frame[50..]);
        assert_eq!(sink.close_code().await, 1001);
        source.send_raw(&frame[30..]).await;
        for side in SIDES {
            rig.end(side).send(close(1001, "")).await;
        }
        let report = rig.report().await;
        let passed = match side {
            Side::Client => report.client_to_upstream,
            _ => report.upstream_to_client,
        };
        assert_eq!(passed.bytes, frame.len() as u64, "{side}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_of_ours_and_one_of_theirs_may_cross() {
    for side in SIDES {
        let mut rig = Rig::new(closed_at(1));
        tokio::time::sleep(ms(999)).await;
        rig.passes(side, close(4000, "mine")).await;
        let (closer, other) = rig.ends(side);
        assert_eq!(closer.close_code().await, 1001);
        closer.end_of_stream().await;
        // It has a close frame already, and gets no second one.
        other.is_quiet_for(secs(4)).await;
        other.send(close(4000, "")).await;
        other.end_of_stream().await;
        let report = rig.report().await;
        assert_eq!(report.initiator, side, "it closed first");
    }
}
