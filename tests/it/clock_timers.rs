//! Every other wait of a tunnel, one by one and together: idle, lifetime, write timeout, linger.

use std::time::Duration;

use wsplice::{
    KeepAlive, TunnelConfig,
    tunnel::{Framing, Side, Timer, TunnelEnd},
};

use super::{
    clock_kit::{Rig, SIDES, from_side, ms, opposite, secs, steady},
    support::frames::{binary, close, ping, pong, text},
};

fn timeout(timer: Timer) -> TunnelEnd {
    TunnelEnd::Timeout(timer, Side::Proxy)
}

/// Both ends get this close code, answer it, and see an orderly end.
async fn both_are_closed(rig: &mut Rig, code: u16) {
    for side in SIDES {
        let end = rig.end(side);
        assert_eq!(end.close_code().await, code, "{side}");
        end.send(close(code, "")).await;
    }
    for side in SIDES {
        rig.end(side).end_of_stream().await;
        assert!(rig.end(side).was_shut_down(), "{side}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_tunnel_is_closed_with_1001() {
    let mut rig = Rig::new(TunnelConfig::new().idle_timeout(secs(60)));
    for side in SIDES {
        rig.end(side).is_quiet_for(ms(29_999)).await;
    }
    both_are_closed(&mut rig, 1001).await;
    assert_eq!(rig.elapsed(), secs(60));
    let report = rig.report().await;
    assert_eq!(report.end, timeout(Timer::Idle));
    assert_eq!(report.initiator, Side::Proxy);
    assert!(!report.is_upstream_failure());
}

#[tokio::test(start_paused = true)]
async fn what_passes_either_way_keeps_a_tunnel_from_being_idle() {
    for side in SIDES {
        let mut rig = Rig::new(TunnelConfig::new().idle_timeout(secs(60)));
        for frame in [text("hello"), ping(b"?"), pong(b"!"), binary(b"")] {
            tokio::time::sleep(secs(59)).await;
            rig.passes(side, frame).await;
        }
        both_are_closed(&mut rig, 1001).await;
        assert_eq!(rig.elapsed(), secs(4 * 59 + 60));
    }
}

#[tokio::test(start_paused = true)]
async fn our_pings_and_their_pongs_are_no_activity() {
    let config = TunnelConfig::new()
        .idle_timeout(secs(50))
        .keep_alive(steady());
    let mut rig = Rig::new(config);
    for _ in 0..2 {
        for side in SIDES {
            rig.end(side).answer_ping().await;
        }
    }
    both_are_closed(&mut rig, 1001).await;
    assert_eq!(rig.elapsed(), secs(50));
    assert_eq!(rig.report().await.end, timeout(Timer::Idle));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_ends_at_its_maximum_lifetime_however_busy() {
    for side in SIDES {
        let config = TunnelConfig::new()
            .max_lifetime(secs(3600))
            .lifetime_jitter(0.0);
        let mut rig = Rig::new(config);
        for _ in 0..119 {
            tokio::time::sleep(secs(30)).await;
            rig.passes(side, text("busy")).await;
        }
        both_are_closed(&mut rig, 1001).await;
        assert_eq!(rig.elapsed(), secs(3600));
        assert_eq!(rig.report().await.end, timeout(Timer::MaxLifetime));
    }
}

#[tokio::test(start_paused = true)]
async fn lifetimes_are_shortened_within_their_jitter_and_differ() {
    let mut lifetimes = Vec::new();
    for _ in 0..60 {
        let config = TunnelConfig::new()
            .max_lifetime(secs(100))
            .lifetime_jitter(0.3);
        let mut rig = Rig::new(config);
        rig.end(Side::Client).close_code().await;
        lifetimes.push(rig.elapsed());
    }
    assert!(
        lifetimes
            .iter()
            .all(|at| (secs(70)..=ms(100_001)).contains(at))
    );
    assert!(lifetimes.iter().any(|at| *at < secs(80)), "{lifetimes:?}");
    assert!(lifetimes.iter().any(|at| *at > secs(90)), "{lifetimes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_jitter_out_of_range_is_clamped() {
    for (jitter, from) in [(f64::NAN, secs(100)), (-1.0, secs(100)), (7.0, secs(0))] {
        let config = TunnelConfig::new()
            .max_lifetime(secs(100))
            .lifetime_jitter(jitter);
        let mut rig = Rig::new(config);
        rig.end(Side::Client).close_code().await;
        assert!((from..=ms(100_001)).contains(&rig.elapsed()), "{jitter}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_stops_reading_is_dropped_and_the_other_is_told() {
    for (stalled, code) in [(Side::Upstream, 1011), (Side::Client, 1001)] {
        let mut rig = Rig::with_capacity(TunnelConfig::new(), 1024);
        let (_, other) = rig.ends(stalled);
        let side = opposite(stalled);
        // The first takes all the room there is; half of the second waits in the tunnel.
        other.send_raw(&from_side(side, binary(&[1; 1000]))).await;
        other.send_raw(&from_side(side, binary(&[2; 500]))).await;
        assert_eq!(other.close_code().await, code, "{stalled}");
        other.send(close(code, "")).await;
        other.end_of_stream().await;
        assert_eq!(rig.elapsed(), secs(60), "{stalled}");
        let (dead, _) = rig.ends(stalled);
        assert!(!dead.was_shut_down());
        let report = rig.report().await;
        assert_eq!(report.end, TunnelEnd::Timeout(Timer::Write, stalled));
        assert_eq!(report.initiator, stalled);
    }
}

#[tokio::test(start_paused = true)]
async fn every_byte_taken_restarts_the_write_stall() {
    for slow in SIDES {
        let mut rig = Rig::with_capacity(TunnelConfig::new(), 1024);
        let bytes = from_side(opposite(slow), binary(&[7; 4000]));
        let (sink, source) = rig.ends(slow);
        let write = source.send_raw(&bytes);
        let read = async {
            let mut got = Vec::new();
            while got.len() < bytes.len() {
                tokio::time::sleep(secs(59)).await;
                let len = 200.min(bytes.len() - got.len());
                got.extend(sink.exactly(len).await);
            }
            got
        };
        let ((), got) = tokio::join!(write, read);
        assert!(got == bytes);
        assert!(!rig.is_over());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_that_ended_does_not_count_towards_the_next() {
    for slow in SIDES {
        let mut rig = Rig::with_capacity(TunnelConfig::new(), 1024);
        let bytes = from_side(opposite(slow), binary(&[7; 1500]));
        for _ in 0..4 {
            let (sink, source) = rig.ends(slow);
            source.send_raw(&bytes).await;
            tokio::time::sleep(secs(40)).await;
            assert!(sink.exactly(bytes.len()).await == bytes);
            tokio::time::sleep(secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_stall_can_be_turned_off() {
    for slow in SIDES {
        let mut rig = Rig::with_capacity(TunnelConfig::new().write_timeout(None), 1024);
        let bytes = from_side(opposite(slow), binary(&[7; 1500]));
        let (sink, source) = rig.ends(slow);
        source.send_raw(&bytes).await;
        tokio::time::sleep(secs(100_000)).await;
        assert!(sink.exactly(bytes.len()).await == bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_tunnel_lingers_as_long_as_bytes_come() {
    for first in SIDES {
        let mut rig = Rig::new(TunnelConfig::new());
        let (gone, other) = rig.ends(first);
        gone.send(close(1000, "")).await;
        gone.finish().await;
        assert_eq!(other.frame().await.close(), Some((1000, String::new())));
        other.end_of_stream().await;
        for _ in 0..20 {
            tokio::time::sleep(ms(9_900)).await;
            rig.passes(opposite(first), text("not yet")).await;
        }
        rig.end(first).end_of_stream().await;
        assert_eq!(rig.elapsed(), ms(20 * 9_900 + 10_000), "{first}");
        // A close frame passed, so the end was in order, if slow.
        assert_eq!(rig.report().await.end, TunnelEnd::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn the_linger_is_counted_from_the_end_of_the_first_direction() {
    let mut rig = Rig::new(TunnelConfig::new());
    tokio::time::sleep(secs(1000)).await;
    let (client, upstream) = rig.ends(Side::Client);
    client.finish().await;
    upstream.end_of_stream().await;
    client.end_of_stream().await;
    assert_eq!(rig.elapsed(), secs(1010));
    let report = rig.report().await;
    assert_eq!(
        report.end,
        TunnelEnd::Timeout(Timer::HalfClose, Side::Upstream)
    );
    assert_eq!(report.initiator, Side::Client);
}

#[tokio::test(start_paused = true)]
async fn without_a_linger_a_half_closed_tunnel_stays() {
    let mut rig = Rig::new(TunnelConfig::new().half_close_timeout(None));
    rig.end(Side::Client).finish().await;
    rig.end(Side::Upstream).end_of_stream().await;
    rig.end(Side::Client).is_quiet_for(secs(100_000)).await;
    rig.passes(Side::Upstream, text("late")).await;
    rig.end(Side::Upstream).finish().await;
    rig.end(Side::Client).rest().await;
    assert_eq!(
        rig.report().await.end,
        TunnelEnd::ClosedWithoutFrame(Side::Client)
    );
}

#[tokio::test(start_paused = true)]
async fn an_opaque_tunnel_keeps_its_timers() {
    let opaque = || TunnelConfig::new().framing(Framing::Opaque);
    let mut rig = Rig::new(opaque().idle_timeout(secs(60)).keep_alive(steady()));
    for side in SIDES {
        rig.end(side).end_of_stream().await;
    }
    assert_eq!(rig.elapsed(), secs(60));
    assert_eq!(rig.report().await.end, timeout(Timer::Idle));

    let mut rig = Rig::with_capacity(opaque(), 16);
    rig.end(Side::Client).send_raw(&[0xFF; 40]).await;
    rig.end(Side::Client).end_of_stream().await;
    assert_eq!(rig.elapsed(), secs(60));
    assert_eq!(
        rig.report().await.end,
        TunnelEnd::Timeout(Timer::Write, Side::Upstream)
    );
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_that_ends_while_another_close_is_under_way_changes_nothing() {
    let config = TunnelConfig::new()
        .idle_timeout(secs(58))
        .max_lifetime(secs(60))
        .lifetime_jitter(0.0)
        .close_timeout(secs(5));
    let mut rig = Rig::new(config);
    for side in SIDES {
        let frame = rig.end(side).frame().await;
        assert_eq!(frame.close(), Some((1001, "idle timeout".into())));
    }
    for side in SIDES {
        rig.end(side).end_of_stream().await;
    }
    assert_eq!(rig.elapsed(), secs(63));
    assert_eq!(rig.report().await.end, timeout(Timer::Idle));
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_that_ends_during_the_linger_closes_what_is_left() {
    let config = TunnelConfig::new()
        .max_lifetime(secs(60))
        .lifetime_jitter(0.0);
    let mut rig = Rig::new(config);
    tokio::time::sleep(secs(55)).await;
    let (client, upstream) = rig.ends(Side::Client);
    client.finish().await;
    upstream.end_of_stream().await;
    assert_eq!(client.close_code().await, 1001);
    client.end_of_stream().await;
    assert_eq!(rig.elapsed(), secs(60));
    assert_eq!(rig.report().await.end, timeout(Timer::MaxLifetime));
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_that_ends_while_a_sink_stalls_waits_for_the_write_timeout_only() {
    for stalled in SIDES {
        let config = TunnelConfig::new()
            .max_lifetime(secs(30))
            .lifetime_jitter(0.0);
        let mut rig = Rig::with_capacity(config, 1024);
        let side = opposite(stalled);
        let bytes = from_side(side, binary(&[3; 1500]));
        let (_, other) = rig.ends(stalled);
        other.send_raw(&bytes).await;
        assert_eq!(other.close_code().await, 1001);
        other.send(close(1001, "")).await;
        other.end_of_stream().await;
        assert_eq!(rig.report().await.end, timeout(Timer::MaxLifetime));
        assert_eq!(rig.elapsed(), secs(60), "{stalled}");
        // No close frame was inserted into the bytes that wait.
        let dead = rig.end(stalled);
        let taken = dead.rest().await;
        assert!(bytes.starts_with(&taken) && taken.len() == 1024);
        assert!(!dead.was_shut_down());
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_takes_its_bytes_in_time_still_gets_the_close_frame() {
    for stalled in SIDES {
        let config = TunnelConfig::new()
            .max_lifetime(secs(30))
            .lifetime_jitter(0.0);
        let mut rig = Rig::with_capacity(config, 1024);
        let side = opposite(stalled);
        let bytes = from_side(side, binary(&[3; 1500]));
        let (slow, other) = rig.ends(stalled);
        other.send_raw(&bytes).await;
        tokio::time::sleep(secs(33)).await;
        assert!(slow.exactly(bytes.len()).await == bytes);
        assert_eq!(slow.close_code().await, 1001, "{stalled}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_earliest_of_all_timers_wins() {
    let config = || {
        TunnelConfig::new()
            .keep_alive(steady())
            .idle_timeout(secs(45))
            .max_lifetime(secs(50))
            .lifetime_jitter(0.0)
    };
    // Pings are not answered.
    let mut rig = Rig::new(config());
    let report = rig.report().await;
    assert!(matches!(report.end, TunnelEnd::Timeout(Timer::Pong, _)));
    // Pongs, and nothing else.
    let mut rig = Rig::new(config());
    for _ in 0..2 {
        for side in SIDES {
            rig.end(side).answer_ping().await;
        }
    }
    assert_eq!(rig.report().await.end, timeout(Timer::Idle));
    // Pongs and data.
    let mut rig = Rig::new(config());
    for _ in 0..2 {
        for side in SIDES {
            rig.end(side).answer_ping().await;
        }
        rig.passes(Side::Client, text("busy")).await;
    }
    assert_eq!(rig.report().await.end, timeout(Timer::MaxLifetime));
}

/// "Never", as many people write it.
#[tokio::test(start_paused = true)]
async fn waits_that_no_clock_can_show_never_end() {
    let never = Duration::MAX;
    let keep_alive = KeepAlive::default().interval(never).pong_timeout(never);
    for jitter in [0.0, 0.5] {
        let config = TunnelConfig::new()
            .keep_alive(keep_alive.jitter(jitter))
            .idle_timeout(never)
            .max_lifetime(never)
            .lifetime_jitter(jitter)
            .half_close_timeout(never)
            .write_timeout(never)
            .close_timeout(never);
        for side in SIDES {
            let mut rig = Rig::with_capacity(config.clone(), 64);
            let stalls = from_side(side, binary(&[7; 100]));
            rig.end(side).send_raw(&stalls).await;
            tokio::time::sleep(secs(24 * 3600)).await;
            assert_eq!(rig.end(opposite(side)).frame().await.raw, stalls);
            rig.end(side).finish().await;
            tokio::time::sleep(secs(24 * 3600)).await;
            assert!(!rig.is_over(), "{side}");
        }
    }
    let mut rig = Rig::new(lifetime(60).close_timeout(never));
    both_are_closed(&mut rig, 1001).await;
}

fn lifetime(time: u64) -> TunnelConfig {
    TunnelConfig::new()
        .max_lifetime(secs(time))
        .lifetime_jitter(0.0)
}
