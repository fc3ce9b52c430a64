//! Test of all slugs: the names that dashboards rely on.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use http::StatusCode;
use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind, Side},
    frame::{CloseCode, HeaderError, OpCode, Rsv, Violation},
    observe::MembershipChange,
    tunnel::{
        reattach::{Loss, ReattachRefusal},
        report::{Limit, Timer, TunnelEnd},
    },
    upstream::{
        discovery::DiscoverError,
        health::{
            HealthControl, HealthEventKind, HealthState, HealthTransition, probe::ProbeFailure,
        },
    },
};

/// Checks a table of slugs. A variant without a row does not compile. Where a variant has fields,
/// its row has a value before the pattern.
macro_rules! slugs {
    ($type:ident, $($variant:path => $slug:literal,)*) => {
        slugs!($type, $($variant, $variant => $slug,)*)
    };
    ($type:ident, $($value:expr, $pattern:pat => $slug:literal,)*) => {{
        let _complete = |value: $type| match value {
            $($pattern => (),)*
        };
        check(stringify!($type), &[$(($value.as_str(), $slug)),*]);
    }};
}

fn check(name: &str, slugs: &[(&str, &str)]) {
    let mut seen = BTreeSet::new();
    for (slug, recorded) in slugs {
        assert_eq!(
            slug, recorded,
            "{name} has another slug than dashboards know"
        );
        assert!(seen.insert(slug), "{name} has {slug} twice");
        let is_snake_case = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(
            !slug.is_empty() && slug.chars().all(is_snake_case),
            "{name}: {slug}"
        );
    }
}

#[test]
fn slugs_are_unique_stable_and_in_snake_case() {
    failures();
    tunnels();
    frames();
    upstreams();
}

fn failures() {
    slugs! { Side,
        Side::Client => "client",
        Side::Upstream => "upstream",
        Side::Proxy => "proxy",
    }
    slugs! { ErrorKind,
        ErrorKind::MalformedHandshake => "malformed_handshake",
        ErrorKind::OriginNotAllowed => "origin_not_allowed",
        ErrorKind::NotAuthorized => "not_authorized",
        ErrorKind::AuthorizationTimeout => "authorization_timeout",
        ErrorKind::Panic => "panic",
        ErrorKind::NotUpgradable => "not_upgradable",
        ErrorKind::ClientUpgrade => "client_upgrade",
        ErrorKind::Rewrite => "rewrite",
        ErrorKind::NoUpstream => "no_upstream",
        ErrorKind::Resolve => "resolve",
        ErrorKind::LocalShortage => "local_shortage",
        ErrorKind::Connect => "connect",
        ErrorKind::ConnectTimeout => "connect_timeout",
        ErrorKind::Tls => "tls",
        ErrorKind::TlsTimeout => "tls_timeout",
        ErrorKind::Http2Unsupported => "http2_unsupported",
        ErrorKind::HandshakeTimeout => "handshake_timeout",
        ErrorKind::AttemptsTimeout => "attempts_timeout",
        ErrorKind::NoResponse => "no_response",
        ErrorKind::Handshake => "handshake",
        ErrorKind::InvalidUpgradeResponse => "invalid_upgrade_response",
        ErrorKind::MalformedRequest => "malformed_request",
        ErrorKind::RequestBody => "request_body",
        ErrorKind::RequestBodyTooLarge => "request_body_too_large",
        ErrorKind::RequestBodyTimeout => "request_body_timeout",
        ErrorKind::MethodNotAllowed => "method_not_allowed",
        ErrorKind::Response => "response",
        ErrorKind::ResponseTimeout => "response_timeout",
        ErrorKind::ResponseBody => "response_body",
        ErrorKind::ResponseBodyTimeout => "response_body_timeout",
        ErrorKind::ClientReadTimeout => "client_read_timeout",
        ErrorKind::ExchangeTimeout => "exchange_timeout",
        ErrorKind::Draining => "draining",
        ErrorKind::TooManyTunnels => "too_many_tunnels",
        ErrorKind::TooManyHandshakes => "too_many_handshakes",
        ErrorKind::TooManyHandshakesPerSecond => "too_many_handshakes_per_second",
        ErrorKind::TooManyTunnelsForKey => "too_many_tunnels_for_key",
        ErrorKind::TooManyHandshakesForKey => "too_many_handshakes_for_key",
    }
}

fn tunnels() {
    slugs! { Loss,
        Loss::ClosedWithoutFrame, Loss::ClosedWithoutFrame => "closed_without_frame",
        Loss::Broken(io::ErrorKind::Other), Loss::Broken(_) => "broken",
        Loss::PongTimeout, Loss::PongTimeout => "pong_timeout",
        Loss::Moved, Loss::Moved => "moved",
        Loss::WriteTimeout, Loss::WriteTimeout => "write_timeout",
        Loss::Closed(CloseCode::NORMAL), Loss::Closed(_) => "closed",
    }
    slugs! { ReattachRefusal,
        ReattachRefusal::Opaque => "opaque",
        ReattachRefusal::UpstreamMessageCut => "upstream_message_cut",
        ReattachRefusal::ClientMessageCut => "client_message_cut",
        ReattachRefusal::ReservedBits => "reserved_bits",
        ReattachRefusal::UnknownExtension => "unknown_extension",
        ReattachRefusal::ContextTakeover => "context_takeover",
        ReattachRefusal::TooOften => "too_often",
        ReattachRefusal::Subprotocol => "subprotocol",
        ReattachRefusal::Extensions => "extensions",
        ReattachRefusal::Refused => "refused",
        ReattachRefusal::Timeout => "timeout",
        ReattachRefusal::LostAfterReplay => "lost_after_replay",
        ReattachRefusal::ReplayTooLarge => "replay_too_large",
        ReattachRefusal::SwallowTooLarge => "swallow_too_large",
        ReattachRefusal::SwallowedContext => "swallowed_context",
        ReattachRefusal::Hook => "hook",
        ReattachRefusal::HookTimeout => "hook_timeout",
        ReattachRefusal::HookPanic => "hook_panic",
        ReattachRefusal::Unavailable => "unavailable",
    }
    slugs! { Timer,
        Timer::Pong => "pong",
        Timer::Idle => "idle",
        Timer::HalfClose => "half_close",
        Timer::Write => "write",
        Timer::MaxLifetime => "max_lifetime",
        Timer::CloseHandshake => "close_handshake",
        Timer::Frame => "frame",
        Timer::Deadline => "deadline",
    }
    slugs! { Limit,
        Limit::FrameSize => "frame_size",
        Limit::MessageSize => "message_size",
        Limit::MessageRate => "message_rate",
        Limit::ByteRate => "byte_rate",
    }
    let timeout = |timer| TunnelEnd::Timeout(timer, Side::Client);
    let limit = |limit| TunnelEnd::Limit(limit, Side::Client);
    slugs! { TunnelEnd,
        TunnelEnd::Closed, TunnelEnd::Closed => "closed",
        TunnelEnd::ClosedWithoutFrame(Side::Client), TunnelEnd::ClosedWithoutFrame(_) => "closed_without_frame",
        TunnelEnd::TruncatedFrame(Side::Client), TunnelEnd::TruncatedFrame(_) => "truncated_frame",
        TunnelEnd::Broken(Side::Client, io::ErrorKind::Other), TunnelEnd::Broken(..) => "broken",
        timeout(Timer::Pong), TunnelEnd::Timeout(Timer::Pong, _) => "pong_timeout",
        timeout(Timer::Idle), TunnelEnd::Timeout(Timer::Idle, _) => "idle_timeout",
        timeout(Timer::HalfClose), TunnelEnd::Timeout(Timer::HalfClose, _) => "half_close_timeout",
        timeout(Timer::Write), TunnelEnd::Timeout(Timer::Write, _) => "write_timeout",
        timeout(Timer::MaxLifetime), TunnelEnd::Timeout(Timer::MaxLifetime, _) => "max_lifetime_timeout",
        timeout(Timer::CloseHandshake), TunnelEnd::Timeout(Timer::CloseHandshake, _) => "close_handshake_timeout",
        timeout(Timer::Frame), TunnelEnd::Timeout(Timer::Frame, _) => "frame_timeout",
        timeout(Timer::Deadline), TunnelEnd::Timeout(Timer::Deadline, _) => "deadline_timeout",
        limit(Limit::FrameSize), TunnelEnd::Limit(Limit::FrameSize, _) => "frame_size_limit",
        limit(Limit::MessageSize), TunnelEnd::Limit(Limit::MessageSize, _) => "message_size_limit",
        limit(Limit::MessageRate), TunnelEnd::Limit(Limit::MessageRate, _) => "message_rate_limit",
        limit(Limit::ByteRate), TunnelEnd::Limit(Limit::ByteRate, _) => "byte_rate_limit",
        TunnelEnd::Violation(Violation::Masked, Side::Client), TunnelEnd::Violation(..) => "violation",
        TunnelEnd::Requested, TunnelEnd::Requested => "requested",
        TunnelEnd::Drained, TunnelEnd::Drained => "drained",
        TunnelEnd::Dropped, TunnelEnd::Dropped => "dropped",
    }
}

fn frames() {
    slugs! { Violation,
        Violation::Header(HeaderError::ControlTooLong), Violation::Header(_) => "header",
        Violation::Unmasked, Violation::Unmasked => "unmasked",
        Violation::Masked, Violation::Masked => "masked",
        Violation::ReservedBits(Rsv::RSV1), Violation::ReservedBits(_) => "reserved_bits",
        Violation::ReservedOpCode(OpCode::from_bits(3)), Violation::ReservedOpCode(_) => "reserved_opcode",
        Violation::LengthNotMinimal, Violation::LengthNotMinimal => "length_not_minimal",
        Violation::FragmentedControl(OpCode::PING), Violation::FragmentedControl(_) => "fragmented_control",
        Violation::HalfCloseCode, Violation::HalfCloseCode => "half_close_code",
        Violation::StrayContinuation, Violation::StrayContinuation => "stray_continuation",
        Violation::InterruptedMessage(OpCode::TEXT), Violation::InterruptedMessage(_) => "interrupted_message",
        Violation::DataAfterClose, Violation::DataAfterClose => "data_after_close",
    }
    let opcodes: Vec<_> = (0..16)
        .map(|bits| OpCode::from_bits(bits).as_str())
        .collect();
    let rest = ["reserved"; 5];
    let known = ["continuation", "text", "binary"].into_iter().chain(rest);
    let expected: Vec<_> = known.chain(["close", "ping", "pong"]).chain(rest).collect();
    assert_eq!(opcodes, expected);
    let mut codes = BTreeSet::new();
    for code in (0..=u16::MAX).map(CloseCode::new) {
        let slug = match (code.name(), code.as_u16()) {
            (Some(_), number) => number.to_string(),
            (None, 3000..=3999) => "3xxx".to_owned(),
            (None, 4000..=4999) => "4xxx".to_owned(),
            (None, _) => "other".to_owned(),
        };
        assert_eq!(code.as_str(), slug);
        codes.insert(slug);
    }
    assert_eq!(codes.len(), 18);
}

fn upstreams() {
    let (since, after, status) = (Instant::now(), Duration::ZERO, StatusCode::OK);
    let (cause, until): (Arc<str>, _) = ("a cause".into(), None);
    slugs! { HealthControl,
        HealthControl::Auto => "auto",
        HealthControl::ForcedHealthy => "forced_healthy",
        HealthControl::ForcedUnhealthy => "forced_unhealthy",
    }
    slugs! { HealthState,
        HealthState::Healthy { since }, HealthState::Healthy { .. } => "healthy",
        HealthState::HalfOpen { since }, HealthState::HalfOpen { .. } => "half_open",
        HealthState::Unhealthy { since, cause: cause.clone(), until }, HealthState::Unhealthy { .. } => "unhealthy",
    }
    slugs! { HealthTransition,
        HealthTransition::Healthy, HealthTransition::Healthy => "healthy",
        HealthTransition::HalfOpen, HealthTransition::HalfOpen => "half_open",
        HealthTransition::Unhealthy { cause: cause.clone(), until }, HealthTransition::Unhealthy { .. } => "unhealthy",
    }
    slugs! { MembershipChange,
        MembershipChange::Added => "added",
        MembershipChange::Changed => "changed",
        MembershipChange::Removed => "removed",
        MembershipChange::Draining => "draining",
        MembershipChange::Resumed => "resumed",
    }
    slugs! { DiscoverError,
        DiscoverError::NoRecords { name: "a".into() }, DiscoverError::NoRecords { .. } => "no_records",
        DiscoverError::TimedOut { after }, DiscoverError::TimedOut { .. } => "timed_out",
        DiscoverError::Ended, DiscoverError::Ended => "ended",
        DiscoverError::failed("a cause"), DiscoverError::Failed(_) => "failed",
    }
    let latency = after;
    slugs! { HealthEventKind,
        HealthEventKind::ProbePassed { latency }, HealthEventKind::ProbePassed { .. } => "probe_passed",
        HealthEventKind::ProbeFailed { reason: ProbeFailure::UnexpectedBody }, HealthEventKind::ProbeFailed { .. } => "probe_failed",
        HealthEventKind::ConnectFailed(ErrorKind::Connect), HealthEventKind::ConnectFailed(_) => "connect_failed",
        HealthEventKind::HandshakeFailed(ErrorKind::Handshake), HealthEventKind::HandshakeFailed(_) => "handshake_failed",
        HealthEventKind::Refused { status }, HealthEventKind::Refused { .. } => "refused",
        HealthEventKind::Forwarded { status }, HealthEventKind::Forwarded { .. } => "forwarded",
        HealthEventKind::Accepted { latency }, HealthEventKind::Accepted { .. } => "accepted",
        HealthEventKind::TunnelLost { lifetime: after }, HealthEventKind::TunnelLost { .. } => "tunnel_lost",
        HealthEventKind::TunnelEnded { lifetime: after }, HealthEventKind::TunnelEnded { .. } => "tunnel_ended",
    }
    let error = || Error::new(ErrorKind::Connect);
    slugs! { ProbeFailure,
        ProbeFailure::TimedOut { step: "pong", after }, ProbeFailure::TimedOut { .. } => "timed_out",
        ProbeFailure::Failed(error()), ProbeFailure::Failed(_) => "failed",
        ProbeFailure::IncompleteResponse(error()), ProbeFailure::IncompleteResponse(_) => "incomplete_response",
        ProbeFailure::Refused(status), ProbeFailure::Refused(_) => "refused",
        ProbeFailure::NoSubprotocol, ProbeFailure::NoSubprotocol => "no_subprotocol",
        ProbeFailure::UnexpectedStatus(status), ProbeFailure::UnexpectedStatus(_) => "unexpected_status",
        ProbeFailure::UnexpectedBody, ProbeFailure::UnexpectedBody => "unexpected_body",
        ProbeFailure::UnexpectedText, ProbeFailure::UnexpectedText => "unexpected_text",
        ProbeFailure::Closed(None), ProbeFailure::Closed(_) => "closed",
        ProbeFailure::Lost("pong"), ProbeFailure::Lost(_) => "lost",
        ProbeFailure::Violation(Violation::Masked), ProbeFailure::Violation(_) => "violation",
        ProbeFailure::Panicked(cause.clone()), ProbeFailure::Panicked(_) => "panicked",
        ProbeFailure::other("a cause"), ProbeFailure::Other(_) => "other",
    }
}
