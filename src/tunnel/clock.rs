//! The time, asked for at most once a poll.

use tokio::time::Instant;

/// Reads the clock when first asked, and gives the same answer from then on.
#[derive(Default)]
pub(super) struct Clock(Option<Instant>);

impl Clock {
    #[inline]
    pub(super) fn now(&mut self) -> Instant {
        *self.0.get_or_insert_with(Instant::now)
    }
}
