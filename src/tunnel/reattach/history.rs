//! The latest reattachments of one tunnel. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Time over which reattachments are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Time after a replay within which a loss may be its doing.
const SUSPECT: Duration = Duration::from_secs(5);

/// Reattachments of one tunnel within the last minute.
#[derive(Debug, Default)]
pub(in crate::tunnel) struct History {
    reattached: Vec<Instant>,
    /// When messages were last replayed.
    replayed: Option<Instant>,
}

impl History {
    /// Counts a reattachment.
    pub(in crate::tunnel) fn record(&mut self, now: Instant) {
        self.reattached.retain(|at| is_recent(*at, now));
        self.reattached.push(now);
    }

    /// Notes that messages were replayed.
    pub(in crate::tunnel) fn record_replay(&mut self, now: Instant) {
        self.replayed = Some(now);
    }

    /// Returns whether messages were replayed just before.
    pub(super) fn has_just_replayed(&self, now: Instant) -> bool {
        self.replayed
            .is_some_and(|at| now.saturating_duration_since(at) < SUSPECT)
    }

    /// Returns the number of reattachments within the last minute.
    pub(super) fn recent(&self, now: Instant) -> usize {
        let reattached = self.reattached.iter();
        reattached.filter(|at| is_recent(**at, now)).count()
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reattachments_count_for_a_minute() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let mut history = History::default();
        history.record(start);
        history.record(after(30));
        assert_eq!(history.recent(after(59)), 2);
        assert_eq!(history.recent(after(60)), 1);
        history.record(after(61));
        assert_eq!(history.reattached.len(), 2, "the oldest is forgotten");
        assert_eq!(history.recent(after(200)), 0);
    }
}
