//! Keep-alive (RFC 6455 §5.5.2): when a leg is pinged, and when it is dead. `clock_pongs` has the
//! pongs, `clock_ping_places` the places of pings between frames.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    time::Instant,
};
use wsplice::{
    KeepAlive, TunnelConfig,
    connect::Transport,
    tunnel::{Side, Timer, Tunnel, TunnelEnd},
};

use super::{
    clock_kit::{Rig, SIDES, from_side, ms, only, opposite, secs, steady},
    support::frames::{binary, close, pong, text},
};

#[tokio::test(start_paused = true)]
async fn a_quiet_leg_is_pinged_after_the_interval_and_not_before() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        let (leg, _) = rig.ends(side);
        leg.is_quiet_for(ms(19_999)).await;
        leg.answer_ping().await;
        assert_eq!(rig.elapsed(), secs(20), "{side}");
        rig.end(side).answer_ping().await;
        assert_eq!(rig.elapsed(), secs(40), "{side}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_leg_has_its_own_interval() {
    let config = TunnelConfig::new()
        .client_keep_alive(steady().interval(secs(7)))
        .upstream_keep_alive(steady().interval(secs(5)));
    let mut rig = Rig::new(config);
    rig.end(Side::Upstream).answer_ping().await;
    assert_eq!(rig.elapsed(), secs(5));
    rig.end(Side::Client).answer_ping().await;
    assert_eq!(rig.elapsed(), secs(7));
}

#[tokio::test(start_paused = true)]
async fn the_other_leg_of_a_one_sided_keep_alive_gets_nothing() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        for _ in 0..3 {
            rig.end(side).answer_ping().await;
        }
        rig.end(opposite(side)).is_quiet_for(secs(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_leg_sends_postpones_its_ping_and_what_it_gets_does_not() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        tokio::time::sleep(secs(15)).await;
        rig.passes(side, text("I live")).await;
        rig.end(side).is_quiet_for(secs(5)).await;
        // Bytes sent to a side do not prove that it lives.
        rig.passes(opposite(side), text("do you?")).await;
        rig.end(side).ping().await;
        assert_eq!(rig.elapsed(), secs(35), "{side}");
    }
}

#[tokio::test(start_paused = true)]
async fn intervals_stay_within_their_jitter_and_differ() {
    let mut moments = Vec::new();
    for _ in 0..40 {
        for side in SIDES {
            let mut rig = Rig::new(only(side, KeepAlive::default()));
            rig.end(side).answer_ping().await;
            let first = rig.elapsed();
            rig.end(side).answer_ping().await;
            moments.extend([first, rig.elapsed() - first]);
        }
    }
    // The clock of tokio ticks in milliseconds.
    assert!(
        moments
            .iter()
            .all(|at| (ms(18_000)..=ms(22_001)).contains(at))
    );
    assert!(moments.iter().any(|at| *at < ms(19_500)), "{moments:?}");
    assert!(moments.iter().any(|at| *at > ms(20_500)), "{moments:?}");
}

#[tokio::test(start_paused = true)]
async fn both_legs_are_pinged_in_one_wake_up_and_nothing_else_wakes_a_quiet_tunnel() {
    let (client, near_client) = duplex(1024);
    let (upstream, near_upstream) = duplex(1024);
    let config = TunnelConfig::new().keep_alive(KeepAlive::default());
    let mut tunnel = Tunnel::builder(Transport::new(near_client), Transport::new(near_upstream))
        .config(config)
        .build();
    let wakes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&wakes);
    let _tunnel = tokio::spawn(poll_fn(move |cx| {
        counted.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut tunnel).poll(cx)
    }));
    let ends = [(Side::Client, client, 2), (Side::Upstream, upstream, 6)];
    let answering = ends.map(|(side, mut end, header)| {
        tokio::spawn(async move {
            let mut moments = Vec::new();
            for _ in 0..10 {
                let mut frame = vec![0; header + 8];
                end.read_exact(&mut frame).await.unwrap();
                moments.push(Instant::now());
                // One end takes longer than the other.
                tokio::time::sleep(ms(header as u64)).await;
                let (head, payload) = frame.split_at_mut(header);
                for (byte, key) in payload.iter_mut().zip(head[2..].iter().cycle()) {
                    *byte ^= key;
                }
                end.write_all(&from_side(side, pong(payload)))
                    .await
                    .unwrap();
            }
            (moments, end)
        })
    });
    let [client, upstream] = answering;
    let ((at_client, _client), (at_upstream, _upstream)) =
        (client.await.unwrap(), upstream.await.unwrap());
    assert_eq!(at_client, at_upstream);
    // The first poll; then for each pair of pings the alarm and two pongs.
    assert!(wakes.load(Ordering::Relaxed) <= 1 + 3 * 10, "{wakes:?}");
}

#[tokio::test(start_paused = true)]
async fn data_without_a_pong_is_life() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        for _ in 0..5 {
            rig.end(side).ping().await;
            tokio::time::sleep(ms(9_999)).await;
            rig.passes(side, text("no pong, but here I am")).await;
        }
        assert!(!rig.is_over());
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_frame_is_life_too() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        let frame = from_side(side, binary(&[5; 100]));
        rig.end(side).ping().await;
        tokio::time::sleep(secs(9)).await;
        rig.end(side).send_raw(&frame[..50]).await;
        tokio::time::sleep(secs(9)).await;
        rig.end(side).send_raw(&frame[50..]).await;
        assert_eq!(rig.end(opposite(side)).frame().await.raw, frame);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_leg_is_dropped_and_the_other_gets_a_close_frame() {
    for (dead, code) in [(Side::Upstream, 1011), (Side::Client, 1001)] {
        let mut rig = Rig::new(only(dead, steady()));
        let (leg, other) = rig.ends(dead);
        leg.ping().await;
        assert_eq!(other.close_code().await, code);
        other.send(close(code, "")).await;
        other.end_of_stream().await;
        leg.end_of_stream().await;
        assert!(other.was_shut_down());
        assert!(!leg.was_shut_down(), "dropped, not ended in order");
        assert_eq!(rig.elapsed(), secs(30), "interval and pong timeout");
        let report = rig.report().await;
        assert_eq!(report.end, TunnelEnd::Timeout(Timer::Pong, dead));
        assert_eq!(report.initiator, dead);
        assert_eq!(report.is_upstream_failure(), dead == Side::Upstream);
        assert_eq!(report.duration, secs(30));
    }
}

#[tokio::test(start_paused = true)]
async fn the_other_leg_of_a_dead_one_is_ended_too_if_it_answers_nothing() {
    for dead in SIDES {
        let mut rig = Rig::new(only(dead, steady()).close_timeout(secs(3)));
        rig.end(dead).ping().await;
        rig.end(opposite(dead)).close_code().await;
        rig.end(opposite(dead)).end_of_stream().await;
        assert_eq!(rig.elapsed(), secs(33));
        assert_eq!(
            rig.report().await.end,
            TunnelEnd::Timeout(Timer::Pong, dead)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_leg_that_dies_inside_a_frame_leaves_no_place_for_a_close_frame() {
    for dead in SIDES {
        let mut rig = Rig::new(only(dead, steady()));
        let half = from_side(dead, binary(&[1; 100]))[..60].to_vec();
        let (leg, other) = rig.ends(dead);
        leg.send_raw(&half).await;
        leg.ping().await;
        assert_eq!(other.rest().await, half, "{dead}");
        assert!(!other.was_shut_down());
        assert_eq!(
            rig.report().await.end,
            TunnelEnd::Timeout(Timer::Pong, dead)
        );
        assert_eq!(rig.elapsed(), secs(30));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pong_at_the_last_moment_is_in_time() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        let cookie = rig.end(side).ping().await;
        tokio::time::sleep(ms(9_999)).await;
        rig.end(side).send(pong(&cookie)).await;
        rig.end(side).answer_ping().await;
        assert_eq!(rig.elapsed(), ms(49_999), "a new interval from the pong");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pong_that_arrives_with_the_deadline_wins() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        let cookie = rig.end(side).ping().await;
        // The clock jumps past the deadline; the tunnel wakes to a pong and a timer at once.
        rig.end(side).send(pong(&cookie)).await;
        tokio::time::advance(secs(11)).await;
        rig.passes(side, text("in time")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn data_that_arrives_with_the_deadline_wins() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        rig.end(side).ping().await;
        rig.end(side).send(text("just now")).await;
        tokio::time::advance(secs(11)).await;
        let passed = rig.end(opposite(side)).frame().await;
        assert_eq!(passed.raw, from_side(side, text("just now")));
        rig.passes(side, text("and on")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leg_whose_pong_waits_behind_a_stalled_sink_is_not_dead() {
    for side in SIDES {
        let mut rig = Rig::with_capacity(only(side, steady()), 1024);
        let frames: Vec<u8> = (0..8)
            .flat_map(|fill| from_side(side, binary(&[fill; 700])))
            .collect();
        let (leg, other) = rig.ends(side);
        // The other side reads nothing for 50 s, so nothing of this leg is read either: that it
        // seems quiet is not its fault.
        let write = leg.send_raw(&frames);
        let read = async {
            tokio::time::sleep(secs(50)).await;
            other.exactly(frames.len()).await
        };
        let ((), got) = tokio::join!(write, read);
        assert!(got == frames);
        assert!(!rig.is_over(), "{side}");
        rig.end(side).answer_ping().await;
        rig.passes(side, text("alive")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leg_that_has_ended_its_direction_is_not_reported_as_dead() {
    for side in SIDES {
        let mut rig = Rig::new(only(side, steady()));
        rig.passes(side, close(1000, "")).await;
        rig.end(side).finish().await;
        // This side cannot answer any more, and the other one still sends.
        for _ in 0..10 {
            tokio::time::sleep(secs(9)).await;
            rig.end(opposite(side)).send(text("more")).await;
        }
        assert!(!rig.is_over(), "{side}");
        let (leg, other) = rig.ends(side);
        other.finish().await;
        let expected = from_side(opposite(side), text("more")).repeat(10);
        let mut got = Vec::new();
        while got.len() < expected.len() {
            let frame = leg.frame().await;
            if frame.opcode() != 9 {
                got.extend(frame.raw);
            }
        }
        assert!(got == expected);
        assert_eq!(rig.report().await.end, TunnelEnd::Closed);
    }
}
