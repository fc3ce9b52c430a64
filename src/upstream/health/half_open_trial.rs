//! Trial of a half-open upstream. Pure.

use super::{
    event::{EventOutcome, EventSource, HealthEvent},
    evidence::Weight,
};

/// Trial of a half-open upstream: decides which events end it, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HalfOpenTrial {
    /// Client whose failure ended the last trial.
    failed_for: Option<u32>,
}

impl HalfOpenTrial {
    /// Returns the outcome of the trial by this event, or neutral if it goes on. `weight` is that of the
    /// evidence against the upstream.
    ///
    /// The next handshake of a client decides: probes go to the evaluator, and a tunnel ends after the
    /// handshake that has decided. A failure does not end the trial if it is the second in a row of
    /// one client, and no more than that client's news.
    pub(super) fn outcome(&mut self, event: &HealthEvent, weight: Weight) -> EventOutcome {
        let outcome = match event.kind.source() {
            EventSource::Handshake => event.kind.outcome(),
            EventSource::Probe | EventSource::Tunnel => EventOutcome::Neutral,
        };
        let client = event.origin.map(|origin| origin.client);
        match outcome {
            EventOutcome::Good => self.failed_for = None,
            EventOutcome::Bad => {
                if client.is_some() && client == self.failed_for && weight != Weight::Verdict {
                    return EventOutcome::Neutral;
                }
                self.failed_for = client;
            }
            EventOutcome::Neutral => {}
        }
        outcome
    }
}
