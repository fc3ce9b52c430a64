use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{settings::MIN_INTERVAL, *};

const INTERVAL: Duration = Duration::from_secs(20);
const TIMEOUT: Duration = Duration::from_secs(10);
const STEADY: f32 = 0.5;
const MS: Duration = Duration::from_millis(1);

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn with(settings: KeepAlive) -> (Pinger, Instant) {
    let start = Instant::now();
    let schedule = PingSchedule::new(settings.jitter(0.0), start);
    (Pinger::new(schedule.into(), 0xABCD_0123, STEADY), start)
}

fn pinger() -> (Pinger, Instant) {
    with(KeepAlive::new())
}

/// A leg that sent bytes at this moment, and takes all that it is given.
fn alive_at(last_received: Instant) -> Signs {
    Signs {
        last_received,
        last_sent: last_received,
        backlog: None,
        is_burdened: false,
        burdened: secs(60),
    }
}

/// The same leg, with a backlog of which `taken` bytes were taken.
fn busy(last_received: Instant, taken: u64) -> Signs {
    Signs {
        backlog: Some(taken),
        ..alive_at(last_received)
    }
}

#[test]
fn pings_after_a_quiet_interval_and_not_before() {
    let (mut pinger, start) = pinger();
    let quiet = alive_at(start);
    assert_eq!(pinger.deadline(&quiet), Some(start + INTERVAL));
    let early = start + INTERVAL - MS;
    assert_eq!(pinger.tick(early, &quiet, STEADY), Action::Wait);
    assert_eq!(pinger.tick(start + INTERVAL, &quiet, STEADY), Action::Ping);
    assert!(pinger.is_due());
}

#[test]
fn traffic_postpones_the_ping() {
    let (mut pinger, start) = pinger();
    let signs = alive_at(start + secs(15));
    assert_eq!(pinger.tick(start + INTERVAL, &signs, STEADY), Action::Wait);
    assert_eq!(pinger.deadline(&signs), Some(start + secs(15) + INTERVAL));
}

#[test]
fn silence_after_a_ping_is_death() {
    let (mut pinger, start) = pinger();
    let (at, quiet) = (start + INTERVAL, alive_at(start));
    assert_eq!(pinger.tick(at, &quiet, STEADY), Action::Ping);
    pinger.sent(at, start);
    assert_eq!(pinger.tick(at + TIMEOUT - MS, &quiet, STEADY), Action::Wait);
    assert_eq!(pinger.tick(at + TIMEOUT, &quiet, STEADY), Action::Dead);
}

#[test]
fn data_without_a_pong_is_life() {
    let (mut pinger, start) = pinger();
    let at = start + INTERVAL;
    pinger.tick(at, &alive_at(start), STEADY);
    let cookie = pinger.sent(at, start);
    let signs = alive_at(at + secs(3));
    assert_eq!(pinger.tick(at + TIMEOUT, &signs, STEADY), Action::Wait);
    assert_eq!(pinger.deadline(&signs), Some(at + secs(3) + INTERVAL));
    assert!(
        pinger.take_pong(&cookie, at + TIMEOUT),
        "the late pong is still ours"
    );
}

#[test]
fn a_pong_behind_much_that_was_sent_has_the_write_timeout() {
    let (mut pinger, start) = pinger();
    pinger.sent(start, start);
    let signs = Signs {
        is_burdened: true,
        ..alive_at(start)
    };
    assert_eq!(pinger.deadline(&signs), Some(start + secs(60)));
    assert_eq!(pinger.tick(start + TIMEOUT, &signs, STEADY), Action::Wait);
    assert_eq!(pinger.tick(start + secs(60), &signs, STEADY), Action::Dead);
}

#[test]
fn the_time_for_a_pong_begins_when_the_ping_was_handed_over() {
    let (mut pinger, start) = pinger();
    let cookie = pinger.sent(start, start);
    pinger.queue();
    assert_eq!(
        pinger.deadline(&busy(start, 0)),
        None,
        "the write timeout applies"
    );
    let at = start + secs(25);
    pinger.delivered(at);
    assert_eq!(pinger.deadline(&alive_at(start)), Some(at + TIMEOUT));
    assert!(pinger.take_pong(&cookie, at + 7 * MS));
    assert_eq!(pinger.rtt().unwrap().last(), 7 * MS);
    // Later bytes that wait are not before it.
    pinger.delivered(at + secs(1));
    assert!(pinger.deadline(&alive_at(at)) > Some(at + TIMEOUT));
}

#[test]
fn a_leftover_that_shrinks_between_two_looks_is_life_and_one_that_does_not_is_none() {
    for (then, action) in [(5, Action::Dead), (6, Action::Wait)] {
        let (mut pinger, start) = pinger();
        pinger.sent(start, start);
        let due = start + TIMEOUT;
        assert_eq!(pinger.tick(due, &busy(start, 5), STEADY), Action::Wait);
        let next = due + secs(1);
        assert_eq!(
            pinger.deadline(&busy(start, then)),
            Some(next),
            "a second apart"
        );
        assert_eq!(pinger.tick(next, &busy(start, then), STEADY), action);
        if action == Action::Wait {
            assert_eq!(pinger.deadline(&alive_at(start)), Some(next + TIMEOUT));
        }
    }
}

#[test]
fn a_ping_that_waits_for_the_end_of_a_silent_frame_is_stuck() {
    let (mut pinger, start) = pinger();
    let at = start + INTERVAL;
    pinger.tick(at, &alive_at(start), STEADY);
    let signs = Signs {
        last_sent: at + secs(5),
        ..alive_at(start)
    };
    assert_eq!(pinger.deadline(&signs), Some(at + secs(65)));
    assert_eq!(pinger.tick(at + secs(65), &signs, STEADY), Action::Stuck);
    assert_eq!(pinger.deadline(&busy(start, 0)), None, "behind a leftover");
}

#[test]
fn a_ping_spares_a_message_for_its_time_only() {
    let (mut pinger, start) = with(KeepAlive::new().between_messages(secs(3)));
    let (at, quiet) = (start + INTERVAL, alive_at(start));
    assert_eq!(pinger.tick(at, &quiet, STEADY), Action::Ping);
    assert!(pinger.is_due() && pinger.waits_for_message_end());
    assert_eq!(pinger.deadline(&quiet), Some(at + secs(3)));
    assert_eq!(pinger.tick(at + secs(3), &quiet, STEADY), Action::Wait);
    assert!(pinger.is_due() && !pinger.waits_for_message_end());
    assert_eq!(pinger.deadline(&quiet), Some(at + secs(60)));
}

#[test]
fn a_peer_that_never_pongs_is_pinged_again_and_again() {
    let (mut pinger, start) = with(KeepAlive::new().without_pong_timeout());
    let quiet = alive_at(start);
    for round in 1..5 {
        let at = start + INTERVAL * round;
        assert_eq!(pinger.deadline(&quiet), Some(at));
        assert_eq!(pinger.tick(at, &quiet, STEADY), Action::Ping);
        pinger.sent(at, start);
    }
    let settings = KeepAlive::new().without_pong_timeout();
    assert_eq!(settings.notices_within(), None);
}

#[test]
fn a_stopped_pinger_does_nothing_more() {
    let (mut pinger, start) = pinger();
    let cookie = pinger.sent(start, start);
    pinger.stop();
    assert_eq!(pinger.deadline(&alive_at(start)), None);
    assert!(pinger.take_pong(&cookie, start + MS));
    pinger.join(start + secs(100), start, STEADY);
    assert!(!pinger.is_due());
    assert_eq!(pinger.deadline(&alive_at(start)), None);
}

#[test]
fn only_outstanding_cookies_are_ours() {
    let (mut pinger, start) = pinger();
    let first = pinger.sent(start, start);
    assert!(!pinger.take_pong(b"endpoint", start));
    assert!(!pinger.take_pong(&first[..7], start));
    assert!(pinger.expects_pong());
    assert!(pinger.take_pong(&first, start + 7 * MS));
    assert!(!pinger.expects_pong());
    assert!(
        !pinger.take_pong(&first, start),
        "a second answer is the endpoint's own"
    );
    let rtt = pinger.rtt().unwrap();
    assert_eq!(rtt.last(), 7 * MS);
}

#[test]
fn an_odd_pong_answers_a_ping_once_and_measures_nothing() {
    let (mut pinger, start) = pinger();
    assert!(!pinger.take_odd_pong(start), "no ping was sent");
    let cookie = pinger.sent(start, start);
    assert!(pinger.take_odd_pong(start + MS));
    assert!(!pinger.take_odd_pong(start + MS));
    assert!(pinger.rtt().is_none());
    let listening = Some(start + MS + INTERVAL);
    assert_eq!(pinger.deadline(&alive_at(start + MS)), listening);
    assert!(
        pinger.take_pong(&cookie, start + 2 * MS),
        "the true one is ours"
    );
    assert!(!pinger.take_odd_pong(start + 3 * MS));
}

#[test]
fn a_pong_settles_the_pings_before_it() {
    let (mut pinger, start) = pinger();
    let first = pinger.sent(start, start);
    let second = pinger.sent(start, start);
    assert!(pinger.take_pong(&second, start));
    assert!(!pinger.take_pong(&first, start));
}

#[test]
fn the_first_of_many_pings_of_a_leg_that_answers_late_has_its_pong_taken() {
    let (mut pinger, start) = pinger();
    let cookies: Vec<_> = (0..100).map(|_| pinger.sent(start, start)).collect();
    for cookie in &cookies {
        assert!(pinger.expects_pong());
        assert!(pinger.take_pong(cookie, start));
    }
    assert!(!pinger.expects_pong());
}

#[test]
fn an_older_pong_is_swallowed_but_measures_nothing() {
    let (mut pinger, start) = pinger();
    let first = pinger.sent(start, start);
    pinger.sent(start, start);
    assert!(pinger.take_pong(&first, start));
    assert!(pinger.rtt().is_none());
    assert!(pinger.expects_pong());
}

#[test]
fn jitter_stays_within_its_share() {
    let settings = KeepAlive::new();
    assert_eq!(settings.jittered(0.0), secs(18));
    assert_eq!(settings.jittered(1.0), secs(22));
    assert_eq!(settings.jitter(f64::NAN).jittered(0.0), INTERVAL);
    assert_eq!(
        settings.interval(Duration::ZERO).jittered(0.5),
        MIN_INTERVAL
    );
}

#[test]
fn a_leg_joins_the_others_ping_within_its_jitter_only() {
    let start = Instant::now();
    let schedule = Arc::new(PingSchedule::new(KeepAlive::new(), start));
    let mut pinger = Pinger::new(schedule, 0xABCD_0123, 1.0);
    let early = start + secs(18);
    pinger.join(early - MS, start, STEADY);
    assert!(!pinger.is_due(), "something came too lately");
    pinger.join(early, start, STEADY);
    assert!(pinger.is_due());
    pinger.sent(early, start);
    pinger.join(early + INTERVAL, start, STEADY);
    assert!(!pinger.is_due(), "one ping at a time");
}

#[test]
fn legs_pinged_together_are_due_together_again() {
    let start = Instant::now();
    let schedule = Arc::new(PingSchedule::new(KeepAlive::new(), start));
    let mut legs =
        [0.1, 0.9].map(|jitter_sample| Pinger::new(Arc::clone(&schedule), 7, jitter_sample));
    let at = start + secs(22);
    let due = [1, 9].map(|ms| at + ms * MS);
    let deadlines: Vec<_> = std::iter::zip(&mut legs, due)
        .map(|(leg, answered)| {
            assert_eq!(leg.tick(at, &alive_at(start), 0.3), Action::Ping);
            let cookie = leg.sent(at, start);
            assert!(leg.take_pong(&cookie, answered));
            leg.deadline(&alive_at(answered))
        })
        .collect();
    assert_eq!(deadlines[0], deadlines[1]);
}

#[test]
fn intervals_end_with_a_slot_and_stay_within_their_jitter() {
    let epoch = Instant::now();
    let schedule = PingSchedule::new(KeepAlive::new(), epoch);
    assert_eq!(schedule.slot, 125 * MS);
    for step in 0..1000_u32 {
        let begin = epoch + Duration::from_micros(1_370) * step;
        let interval = schedule.interval(begin, f64::from(step % 100) / 99.0);
        assert!(interval >= secs(18), "{interval:?}");
        assert!(interval <= secs(22), "{interval:?}");
        let end = begin + interval - epoch;
        assert_eq!(end.as_nanos() % schedule.slot.as_nanos(), 0, "{end:?}");
    }
}

#[test]
fn without_jitter_an_interval_is_exact() {
    let epoch = Instant::now();
    let begin = epoch + 7 * MS;
    let schedule = PingSchedule::new(KeepAlive::new().jitter(0.0), epoch);
    assert_eq!(schedule.interval(begin, 0.9), INTERVAL);
    let schedule = PingSchedule::new(KeepAlive::new().interval(Duration::MAX), epoch);
    assert!(schedule.interval(begin, 0.9) > INTERVAL);
}

#[test]
fn the_bytes_after_a_ping_may_be_unread_when_it_is_answered() {
    for odd in [true, false] {
        let (mut pinger, start) = pinger();
        pinger.note_sent(700);
        let cookie = pinger.sent(start, start);
        pinger.note_sent(20);
        pinger.note_sent(3);
        assert_eq!(pinger.unread(), 0, "no pong yet");
        let answers = if odd {
            pinger.take_odd_pong(start)
        } else {
            pinger.take_pong(&cookie, start)
        };
        assert!(answers);
        assert_eq!(pinger.unread(), 23);
    }
}

#[test]
fn each_round_trip_is_reported_once() {
    let (mut pinger, start) = pinger();
    assert!(!pinger.has_rtt_update());
    let cookie = pinger.sent(start, start);
    assert!(pinger.take_pong(&cookie, start + 7 * MS));
    assert!(pinger.has_rtt_update());
    assert_eq!(pinger.take_rtt_update().map(|rtt| rtt.last()), Some(7 * MS));
    assert!(!pinger.has_rtt_update());
    assert_eq!(pinger.take_rtt_update(), None);
}

#[test]
fn a_dead_leg_is_noticed_within_the_interval_and_the_pong_timeout() {
    let within = KeepAlive::new().notices_within();
    assert_eq!(within, Some(INTERVAL + TIMEOUT));
}
