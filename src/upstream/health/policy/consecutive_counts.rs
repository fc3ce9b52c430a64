//! Counts of consecutive failures and passes.

use super::health_policy::Verdict;
use crate::upstream::health::event::{EventOutcome, EventSource};

/// Counts consecutive failures for each source, and consecutive passes over all sources.
///
/// A successful handshake is no evidence about a failing probe, and vice versa, so neither resets
/// the count of the other's failures. Any failure resets the count of passes.
#[derive(Clone, Debug)]
pub(super) struct ConsecutiveCounts {
    fails: u32,
    passes: u32,
    verdict: Verdict,
    failed: [u32; 3],
    passed: u32,
}

impl ConsecutiveCounts {
    /// Creates counts with these thresholds, both at least 1.
    pub(super) fn new(fails: u32, passes: u32) -> Self {
        Self {
            fails: fails.max(1),
            passes: passes.max(1),
            verdict: Verdict::Healthy,
            failed: [0; 3],
            passed: 0,
        }
    }

    /// Counts a signal; returns whether it made the upstream unhealthy.
    pub(super) fn signal(&mut self, source: EventSource, signal: EventOutcome) -> bool {
        match (self.verdict, signal) {
            (_, EventOutcome::Neutral) => {}
            // Healthy => Healthy | Unhealthy
            (Verdict::Healthy, EventOutcome::Good) => *self.failed_of(source) = 0,
            (Verdict::Healthy, EventOutcome::Bad) => {
                let failed = self.failed_of(source);
                *failed += 1;
                if *failed >= self.fails {
                    self.change_verdict(Verdict::Unhealthy);
                    return true;
                }
            }
            // Unhealthy => Unhealthy | Healthy
            (Verdict::Unhealthy, EventOutcome::Bad) => self.passed = 0,
            (Verdict::Unhealthy, EventOutcome::Good) => {
                self.passed += 1;
                if self.passed >= self.passes {
                    self.change_verdict(Verdict::Healthy);
                }
            }
        }
        false
    }

    pub(super) const fn verdict(&self) -> Verdict {
        self.verdict
    }

    pub(super) const fn fails(&self) -> u32 {
        self.fails
    }

    /// Changes the verdict and resets all counts: earlier signals must not count twice.
    fn change_verdict(&mut self, verdict: Verdict) {
        self.verdict = verdict;
        self.failed = [0; 3];
        self.passed = 0;
    }

    const fn failed_of(&mut self, source: EventSource) -> &mut u32 {
        let [probe, handshake, tunnel] = &mut self.failed;
        match source {
            EventSource::Probe => probe,
            EventSource::Handshake => handshake,
            EventSource::Tunnel => tunnel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, literally, over the signals since the last change.
    fn by_definition(
        history: &[(EventSource, EventOutcome)],
        fails: usize,
        passes: usize,
    ) -> Vec<Verdict> {
        let mut verdict = Verdict::Healthy;
        let mut since = Vec::new();
        let mut verdicts = Vec::new();
        for event in history {
            if event.1 != EventOutcome::Neutral {
                since.push(*event);
            }
            let all_last = |signals: Vec<EventOutcome>, n: usize, wanted| {
                signals.len() >= n && signals.iter().rev().take(n).all(|s| *s == wanted)
            };
            let of = |source| -> Vec<_> {
                let own = since.iter().filter(|event| event.0 == source);
                own.map(|event| event.1).collect()
            };
            let turned = match verdict {
                Verdict::Healthy => [
                    EventSource::Probe,
                    EventSource::Handshake,
                    EventSource::Tunnel,
                ]
                .into_iter()
                .any(|source| all_last(of(source), fails, EventOutcome::Bad))
                .then_some(Verdict::Unhealthy),
                Verdict::Unhealthy => {
                    let signals = since.iter().map(|event| event.1).collect();
                    all_last(signals, passes, EventOutcome::Good).then_some(Verdict::Healthy)
                }
            };
            if let Some(turned) = turned {
                verdict = turned;
                since.clear();
            }
            verdicts.push(verdict);
        }
        verdicts
    }

    fn source() -> impl Strategy<Value = EventSource> {
        prop_oneof![
            Just(EventSource::Probe),
            Just(EventSource::Handshake),
            Just(EventSource::Tunnel)
        ]
    }

    fn signal() -> impl Strategy<Value = EventOutcome> {
        prop_oneof![
            4 => Just(EventOutcome::Bad),
            3 => Just(EventOutcome::Good),
            1 => Just(EventOutcome::Neutral)
        ]
    }

    proptest! {
        #[test]
        fn counts_match_their_definition(
            history in proptest::collection::vec((source(), signal()), 0..60),
            fails in 1..5_u32,
            passes in 1..4_u32,
        ) {
            let mut counts = ConsecutiveCounts::new(fails, passes);
            let mut verdicts = Vec::new();
            for (source, signal) in &history {
                let before = counts.verdict();
                let fell = counts.signal(*source, *signal);
                let turned = before == Verdict::Healthy && counts.verdict() == Verdict::Unhealthy;
                prop_assert_eq!(fell, turned);
                verdicts.push(counts.verdict());
            }
            let expected = by_definition(&history, fails as usize, passes as usize);
            prop_assert_eq!(verdicts, expected);
        }
    }
}
