use std::io::ErrorKind::ConnectionReset;

use super::*;
use crate::frame::Violation;

const SIDES: [Side; 2] = [Side::Client, Side::Upstream];

/// The code that goes to this side; `None` where there is no close frame.
fn code(end: &TunnelEnd, side: Side) -> Option<u16> {
    match close_action(end, side) {
        CloseAction::Close(frame) => Some(frame.code.as_u16()),
        CloseAction::Shut | CloseAction::Abort => None,
    }
}

/// The codes for the client and the upstream.
fn codes(end: &TunnelEnd) -> (Option<u16>, Option<u16>) {
    (code(end, Side::Client), code(end, Side::Upstream))
}

#[test]
fn a_lost_upstream_is_1011_for_the_client_and_a_lost_client_a_reset_for_the_upstream() {
    for lost in [TunnelEnd::ClosedWithoutFrame, |side| {
        TunnelEnd::Broken(side, ConnectionReset)
    }] {
        assert_eq!(codes(&lost(Side::Upstream)), (Some(1011), None));
        assert_eq!(codes(&lost(Side::Client)), (None, None));
    }
    let in_order = TunnelEnd::ClosedWithoutFrame(Side::Upstream);
    assert_eq!(close_action(&in_order, Side::Upstream), CloseAction::Shut);
    let broken = TunnelEnd::Broken(Side::Upstream, ConnectionReset);
    assert_eq!(close_action(&broken, Side::Upstream), CloseAction::Abort);
}

#[test]
fn a_dead_leg_is_reset_and_the_others_close_names_it() {
    for timer in [Timer::Pong, Timer::Write, Timer::CloseHandshake] {
        let dead = |side| TunnelEnd::Timeout(timer, side);
        assert_eq!(codes(&dead(Side::Upstream)), (Some(1011), None));
        assert_eq!(codes(&dead(Side::Client)), (None, Some(1001)));
    }
}

#[test]
fn the_proxys_own_ends_are_1001_for_both() {
    for end in [
        TunnelEnd::Timeout(Timer::Idle, Side::Proxy),
        TunnelEnd::Timeout(Timer::MaxLifetime, Side::Proxy),
    ] {
        assert_eq!(codes(&end), (Some(1001), Some(1001)), "{end}");
    }
}

#[test]
fn commands_bring_their_own_frames_or_abort() {
    for end in [TunnelEnd::Requested, TunnelEnd::Drained] {
        for side in SIDES {
            assert_eq!(close_action(&end, side), CloseAction::Abort);
        }
    }
}

#[test]
fn an_unfinished_frame_leaves_no_place_on_the_other_leg() {
    for side in SIDES {
        let end = TunnelEnd::Timeout(Timer::Frame, side);
        assert_eq!(code(&end, side), Some(1008));
        let other = SIDES.into_iter().find(|other| *other != side).unwrap();
        assert_eq!(close_action(&end, other), CloseAction::Abort);
    }
}

#[test]
fn a_silent_leg_is_dropped_after_the_half_close_and_the_other_ended_in_order() {
    for side in SIDES {
        let end = TunnelEnd::Timeout(Timer::HalfClose, side);
        assert_eq!(close_action(&end, side), CloseAction::Abort);
        let other = SIDES.into_iter().find(|other| *other != side).unwrap();
        assert_eq!(close_action(&end, other), CloseAction::Shut);
    }
}

#[test]
fn the_close_of_an_offender_names_the_offense_rfc6455_7_4_1() {
    for (limit, offence) in [
        (Limit::FrameSize, 1009),
        (Limit::MessageSize, 1009),
        (Limit::MessageRate, 1008),
        (Limit::ByteRate, 1008),
    ] {
        for side in SIDES {
            assert_eq!(code(&TunnelEnd::Limit(limit, side), side), Some(offence));
        }
        let by = |side| TunnelEnd::Limit(limit, side);
        assert_eq!(code(&by(Side::Client), Side::Upstream), Some(1001));
        assert_eq!(code(&by(Side::Upstream), Side::Client), Some(1011));
    }
    let by = |side| TunnelEnd::Violation(Violation::StrayContinuation, side);
    assert_eq!(codes(&by(Side::Client)), (Some(1002), Some(1001)));
    assert_eq!(codes(&by(Side::Upstream)), (Some(1011), Some(1002)));
}

#[test]
fn no_close_has_a_code_that_must_not_be_sent_rfc6455_7_4_1() {
    let timers = [
        Timer::Pong,
        Timer::Idle,
        Timer::HalfClose,
        Timer::Write,
        Timer::MaxLifetime,
        Timer::CloseHandshake,
        Timer::Frame,
    ];
    let of = |side| {
        let timeouts = timers.map(|timer| TunnelEnd::Timeout(timer, side));
        let others = [
            TunnelEnd::ClosedWithoutFrame(side),
            TunnelEnd::TruncatedFrame(side),
        ];
        timeouts.into_iter().chain(others)
    };
    let ends = SIDES.into_iter().flat_map(of);
    for end in ends.chain([TunnelEnd::Closed, TunnelEnd::Dropped]) {
        for side in SIDES {
            if let CloseAction::Close(frame) = close_action(&end, side) {
                assert!(frame.code.is_sendable(), "{end}");
                assert!((1..=123).contains(&frame.reason.len()), "{end}");
            }
        }
    }
}
