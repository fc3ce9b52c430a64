//! The latest reattachments of one tunnel. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Time over which reattachments are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Reattachments of one tunnel within the last minute.
#[derive(Debug, Default)]
pub(in crate::tunnel) struct History(Vec<Instant>);

impl History {
    /// Counts a reattachment.
    pub(in crate::tunnel) fn record(&mut self, now: Instant) {
        self.0.retain(|at| is_recent(*at, now));
        self.0.push(now);
    }

    /// Returns the number of reattachments within the last minute.
    pub(super) fn recent(&self, now: Instant) -> usize {
        self.0.iter().filter(|at| is_recent(**at, now)).count()
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
        assert_eq!(history.0.len(), 2, "the oldest is forgotten");
        assert_eq!(history.recent(after(200)), 0);
    }
}
