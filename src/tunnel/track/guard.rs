//! The rules and limits that a direction must keep to.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    frame::{FrameHeader, OpCode, Rules, Violation},
    tunnel::{
        limits::{Meter, Rate},
        report::Limit,
    },
};

/// How a side broke the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tunnel) enum Breach {
    Limit(Limit),
    Violation(Violation),
}

/// What a direction must keep to.
#[derive(Debug)]
pub(in crate::tunnel) struct Guard {
    pub(in crate::tunnel) rules: Option<Rules>,
    pub(in crate::tunnel) meter: Meter,
}

/// Whether a frame may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgment {
    Pass,
    /// Not before this moment, because of this limit.
    Wait(Limit, Instant),
    Refuse(Breach),
}

impl Guard {
    /// Judges a frame by its header. `is_forced` says that the other side's ping asked for it.
    pub(super) fn judge(
        &mut self,
        header: &FrameHeader,
        is_forced: bool,
        now: Instant,
    ) -> Judgment {
        // A close frame ends what a limit is there for, and must not be refused for it.
        let is_rated = header.opcode() != OpCode::CLOSE && !is_forced;
        if is_rated {
            match self.meter.rate(header, now) {
                Rate::Over(limit, _) if self.meter.closes_over_rate() => {
                    return Judgment::Refuse(Breach::Limit(limit));
                }
                Rate::Over(limit, until) => return Judgment::Wait(limit, until),
                Rate::Within => {}
            }
        }
        if let Some(Err(violation)) = self.rules.as_mut().map(|rules| rules.check(header)) {
            return Judgment::Refuse(Breach::Violation(violation));
        }
        if header.opcode() != OpCode::CLOSE {
            if let Err(limit) = self.meter.take_size(header) {
                return Judgment::Refuse(Breach::Limit(limit));
            }
        }
        if is_rated {
            self.meter.take_rate(header, now);
        }
        Judgment::Pass
    }

    pub(super) fn make_up_for(&mut self, time: Duration, now: Instant) {
        self.meter.make_up_for(time, now);
    }
}
