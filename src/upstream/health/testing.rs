//! Events and times for the tests of policies.

use std::{sync::OnceLock, time::Duration};

use tokio::time::Instant;

use super::{HealthEvaluator, HealthEvent, HealthEventKind, Verdict, probe::ProbeFailure};
use crate::error::ErrorKind;

/// Returns a time, in milliseconds since the tests began.
pub(super) fn at(millis: u64) -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now) + Duration::from_millis(millis)
}

pub(super) fn secs(secs: u64) -> Instant {
    at(secs * 1000)
}

pub(super) fn probe_passed() -> HealthEventKind {
    let latency = Duration::ZERO;
    HealthEventKind::ProbePassed { latency }
}

pub(super) fn probe_failed() -> HealthEventKind {
    let reason = ProbeFailure::TimedOut {
        step: "handshake",
        after: Duration::from_secs(5),
    };
    HealthEventKind::ProbeFailed { reason }
}

pub(super) fn accepted() -> HealthEventKind {
    let latency = Duration::ZERO;
    HealthEventKind::Accepted { latency }
}

pub(super) fn connect_failed() -> HealthEventKind {
    HealthEventKind::ConnectFailed(ErrorKind::Connect)
}

/// Passes an event to the evaluator and returns its verdict.
pub(super) fn verdict_after(
    evaluator: &mut dyn HealthEvaluator,
    at: Instant,
    kind: HealthEventKind,
) -> Verdict {
    evaluator.observe(&HealthEvent::new(at, kind));
    evaluator.verdict(at)
}
