//! Check of one direction's frames against rules and limits.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    frame::{FrameHeader, OpCode, Rules, Violation},
    tunnel::{
        limits::{Meter, RateDecision},
        report::Limit,
    },
};

/// Breach of a limit or of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tunnel) enum Breach {
    Limit(Limit),
    Violation(Violation),
}

/// Rules and limits of one direction.
#[derive(Debug)]
pub(in crate::tunnel) struct Guard {
    pub(in crate::tunnel) rules: Option<Rules>,
    pub(in crate::tunnel) meter: Meter,
}

/// Result of checking a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckResult {
    Pass,
    /// The frame must wait until this moment, because of this limit.
    Wait(Limit, Instant),
    Reject(Breach),
}

impl Guard {
    /// Checks a frame by its header. `is_solicited`: the frame is a pong that the other side's ping
    /// asked for.
    pub(super) fn check(
        &mut self,
        header: &FrameHeader,
        is_solicited: bool,
        now: Instant,
    ) -> CheckResult {
        // A close frame ends the traffic that a limit is for, and must not be rejected for it.
        let is_rated = header.opcode() != OpCode::CLOSE && !is_solicited;
        if is_rated {
            match self.meter.rate(header, now) {
                RateDecision::Over(limit, _) if self.meter.closes_over_rate() => {
                    return CheckResult::Reject(Breach::Limit(limit));
                }
                RateDecision::Over(limit, until) => return CheckResult::Wait(limit, until),
                RateDecision::Within => {}
            }
        }
        if let Some(Err(violation)) = self.rules.as_mut().map(|rules| rules.check(header)) {
            return CheckResult::Reject(Breach::Violation(violation));
        }
        if header.opcode() != OpCode::CLOSE {
            if let Err(limit) = self.meter.take_size(header) {
                return CheckResult::Reject(Breach::Limit(limit));
            }
        }
        if is_rated {
            self.meter.take_rate(header, now);
        }
        CheckResult::Pass
    }

    pub(super) fn credit_time(&mut self, time: Duration, now: Instant) {
        self.meter.credit_time(time, now);
    }
}
