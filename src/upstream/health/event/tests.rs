use super::*;
use crate::tunnel::report::{Limit, Timer};
use std::io;

fn report(end: TunnelEnd, initiator: Side) -> TunnelReport {
    let mut report = TunnelReport::new(end, initiator);
    report.duration = Duration::from_secs(2);
    report
}

fn signal_of(end: TunnelEnd, initiator: Side) -> Option<EventOutcome> {
    HealthEventKind::of_report(&report(end, initiator)).map(|kind| kind.outcome())
}

#[test]
fn failures_caused_by_a_client_are_never_an_event() {
    for kind in [
        ErrorKind::MalformedHandshake,
        ErrorKind::ClientUpgrade,
        ErrorKind::Draining,
        ErrorKind::NoUpstream,
    ] {
        assert!(HealthEventKind::of_error(&Error::new(kind)).is_none());
    }
    assert_eq!(signal_of(TunnelEnd::Closed, Side::Client), None);
    assert_eq!(
        signal_of(TunnelEnd::ClosedWithoutFrame(Side::Client), Side::Client),
        None
    );
    assert_eq!(
        signal_of(TunnelEnd::ClosedWithoutFrame(Side::Upstream), Side::Client),
        None
    );
    for side in [Side::Client, Side::Upstream] {
        let reset = TunnelEnd::Broken(side, io::ErrorKind::ConnectionReset);
        assert_eq!(signal_of(reset, Side::Client), None);
    }
    let pong = TunnelEnd::Timeout(Timer::Pong, Side::Client);
    assert_eq!(signal_of(pong, Side::Client), None);
}

#[test]
fn ends_caused_by_the_proxy_are_never_an_event() {
    assert_eq!(signal_of(TunnelEnd::Drained, Side::Proxy), None);
    assert_eq!(signal_of(TunnelEnd::Requested, Side::Proxy), None);
    let idle = TunnelEnd::Timeout(Timer::Idle, Side::Upstream);
    assert_eq!(signal_of(idle, Side::Proxy), None);
    let limit = TunnelEnd::Limit(Limit::FrameSize, Side::Upstream);
    assert_eq!(signal_of(limit, Side::Upstream), None);
}

#[test]
fn shortages_of_the_proxy_and_failures_of_the_resolver_blame_no_upstream() {
    for (kind, outcome) in [
        (ErrorKind::LocalShortage, None),
        (ErrorKind::Resolve, None),
        (ErrorKind::Connect, Some(EventOutcome::Bad)),
        (ErrorKind::Tls, Some(EventOutcome::Bad)),
    ] {
        let event = HealthEventKind::of_error(&Error::new(kind));
        assert_eq!(event.map(|event| event.outcome()), outcome, "{kind:?}");
        let reason = ProbeFailure::Failed(Error::new(kind));
        let probed = HealthEventKind::ProbeFailed { reason }.outcome();
        assert_eq!(probed, outcome.unwrap_or(EventOutcome::Neutral), "{kind:?}");
    }
}

#[test]
fn an_upstream_that_vanishes_or_falls_silent_is_bad() {
    let reset = TunnelEnd::Broken(Side::Upstream, io::ErrorKind::ConnectionReset);
    let pong = TunnelEnd::Timeout(Timer::Pong, Side::Upstream);
    for end in [TunnelEnd::ClosedWithoutFrame(Side::Upstream), reset, pong] {
        assert_eq!(signal_of(end, Side::Upstream), Some(EventOutcome::Bad));
    }
    let closed = signal_of(TunnelEnd::Closed, Side::Upstream);
    assert_eq!(closed, Some(EventOutcome::Neutral));
}

#[test]
fn a_report_and_health_agree_on_the_failures_of_an_upstream() {
    use crate::frame::Violation;

    let ends_of = |side| {
        [
            (TunnelEnd::ClosedWithoutFrame(side), true),
            (TunnelEnd::TruncatedFrame(side), true),
            (TunnelEnd::Broken(side, io::ErrorKind::BrokenPipe), true),
            (TunnelEnd::Timeout(Timer::Pong, side), true),
            (TunnelEnd::Timeout(Timer::Write, side), true),
            (TunnelEnd::Timeout(Timer::Idle, side), false),
            (TunnelEnd::Timeout(Timer::HalfClose, side), false),
            (TunnelEnd::Timeout(Timer::MaxLifetime, side), false),
            (TunnelEnd::Timeout(Timer::CloseHandshake, side), false),
            (TunnelEnd::Timeout(Timer::Frame, side), false),
            (TunnelEnd::Limit(Limit::ByteRate, side), false),
            (TunnelEnd::Violation(Violation::Unmasked, side), false),
            (TunnelEnd::Closed, false),
            (TunnelEnd::Requested, false),
            (TunnelEnd::Drained, false),
            (TunnelEnd::Dropped, false),
        ]
    };
    let sides = [Side::Client, Side::Upstream, Side::Proxy];
    for (side, initiator) in sides
        .into_iter()
        .flat_map(|side| sides.map(|by| (side, by)))
    {
        for (end, is_failure) in ends_of(side) {
            let is_upstream = (side, initiator) == (Side::Upstream, Side::Upstream);
            let report = report(end.clone(), initiator);
            let lost = matches!(
                HealthEventKind::of_report(&report),
                Some(HealthEventKind::TunnelLost { .. })
            );
            assert_eq!(lost, is_failure && is_upstream, "{end:?} by {initiator}");
            assert_eq!(report.is_upstream_failure(), lost, "{end:?} by {initiator}");
        }
    }
}

#[test]
fn answers_are_bad_from_500_on() {
    for (status, signal) in [(302, EventOutcome::Neutral), (404, EventOutcome::Neutral)]
        .into_iter()
        .chain([
            (499, EventOutcome::Neutral),
            (500, EventOutcome::Bad),
            (503, EventOutcome::Bad),
        ])
    {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(HealthEventKind::Refused { status }.outcome(), signal);
        let forwarded = HealthEventKind::Forwarded { status }.outcome();
        let expected = match status.as_u16() {
            ..400 => EventOutcome::Good,
            _ => signal,
        };
        assert_eq!(forwarded, expected);
    }
}

#[test]
fn errors_of_the_upstream_are_distinguished() {
    let kind = |kind| HealthEventKind::of_error(&Error::new(kind)).unwrap();
    assert!(matches!(
        kind(ErrorKind::ConnectTimeout),
        HealthEventKind::ConnectFailed(ErrorKind::ConnectTimeout)
    ));
    assert!(matches!(
        kind(ErrorKind::InvalidUpgradeResponse),
        HealthEventKind::HandshakeFailed(ErrorKind::InvalidUpgradeResponse)
    ));
}

#[test]
fn a_client_error_of_a_forwarded_request_is_neutral() {
    for (status, outcome) in [
        (399, EventOutcome::Good),
        (400, EventOutcome::Neutral),
        (499, EventOutcome::Neutral),
        (500, EventOutcome::Bad),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let kind = HealthEventKind::Forwarded { status };
        assert_eq!(kind.outcome(), outcome, "{status}");
    }
}

#[test]
fn an_event_began_as_long_ago_as_it_took() {
    let at = Instant::now() + Duration::from_secs(9);
    let (latency, lifetime) = (Duration::from_secs(1), Duration::from_secs(2));
    for (kind, took) in [
        (HealthEventKind::ProbePassed { latency }, latency),
        (HealthEventKind::Accepted { latency }, latency),
        (HealthEventKind::TunnelLost { lifetime }, lifetime),
        (HealthEventKind::TunnelEnded { lifetime }, lifetime),
        (
            HealthEventKind::ConnectFailed(ErrorKind::Connect),
            Duration::ZERO,
        ),
    ] {
        assert_eq!(HealthEvent::new(at, kind).began, at - took);
    }
}
