//! Token bucket. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::instant::saturating_add;

/// A token bucket that is full at the start. It holds one second's worth, unless another
/// [burst](Self::with_burst) is set.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    rate: f64,
    burst: Option<f64>,
    tokens: f64,
    filled_at: Instant,
}

impl TokenBucket {
    pub(crate) const fn full(rate: f64, now: Instant) -> Self {
        Self {
            rate,
            burst: None,
            tokens: rate,
            filled_at: now,
        }
    }

    /// Holds this much instead of one second's worth.
    pub(crate) const fn with_burst(mut self, burst: f64) -> Self {
        self.burst = Some(burst);
        self.tokens = burst;
        self
    }

    /// Adds what would have come in in this time until now, even above the burst: for a time in
    /// which none could be used.
    pub(crate) fn credit_time(&mut self, time: Duration, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at);
        let before = self.tokens;
        self.fill(now);
        // The bucket has taken in that time too, as far as it had room.
        let cut_off = elapsed.as_secs_f64() * self.rate - (self.tokens - before);
        self.tokens += cut_off.clamp(0.0, time.as_secs_f64() * self.rate);
    }

    /// Whether the amount is there.
    pub(crate) fn has(&mut self, amount: f64, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= amount
    }

    /// Whether there is any at all.
    pub(crate) fn has_some(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens > 0.0
    }

    /// Changes the rate from now on.
    pub(crate) fn set_rate(&mut self, rate: f64, now: Instant) {
        self.fill(now);
        self.rate = rate;
        self.tokens = self.tokens.min(self.capacity());
    }

    /// Takes the amount if the bucket holds it.
    pub(crate) fn take(&mut self, amount: f64, now: Instant) -> bool {
        self.fill(now);
        if self.tokens < amount {
            return false;
        }
        self.tokens -= amount;
        true
    }

    /// Takes the amount unless the bucket is empty, and owes the rest: one frame may be larger than
    /// a second's worth, as long as the next waits until it is paid for.
    pub(crate) fn take_on_credit(&mut self, amount: f64, now: Instant) -> bool {
        self.fill(now);
        if self.tokens <= 0.0 {
            return false;
        }
        self.tokens -= amount;
        true
    }

    /// Returns tokens that were taken and not used.
    pub(crate) fn give_back(&mut self, amount: f64) {
        self.tokens = (self.tokens + amount).min(self.capacity());
    }

    /// The instant at which the amount will be there, if no more is taken until then. Always later
    /// than `now`: rounding may leave it a hair short at that instant, and a waiter must not spin.
    pub(crate) fn ready_at(&mut self, amount: f64, now: Instant) -> Instant {
        self.fill(now);
        let missing = (amount - self.tokens).max(0.0);
        let wait = Duration::try_from_secs_f64(missing / self.rate);
        let wait = wait.unwrap_or(Duration::from_secs(3600));
        saturating_add(now, wait.max(Duration::from_millis(1)))
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        let filled = (self.tokens + elapsed * self.rate).min(self.capacity());
        // Tokens above the capacity stay until they are used.
        self.tokens = self.tokens.max(filled);
        self.filled_at = now;
    }

    fn capacity(&self) -> f64 {
        self.burst.unwrap_or(self.rate).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_a_seconds_worth_and_refills_with_time() {
        let start = Instant::now();
        let mut bucket = TokenBucket::full(2.0, start);
        assert!(bucket.take(1.0, start) && bucket.take(1.0, start));
        assert!(!bucket.take(1.0, start));
        assert_eq!(
            bucket.ready_at(1.0, start),
            start + Duration::from_millis(500)
        );
        assert!(bucket.take(1.0, start + Duration::from_millis(500)));
        let later = start + Duration::from_secs(60);
        assert!(
            bucket.take(2.0, later) && !bucket.take(0.5, later),
            "no more than a second's worth"
        );
    }

    #[test]
    fn credit_is_paid_back_before_the_next() {
        let start = Instant::now();
        let mut bucket = TokenBucket::full(10.0, start);
        assert!(bucket.take_on_credit(25.0, start));
        assert!(!bucket.take_on_credit(1.0, start + Duration::from_secs(1)));
        assert!(bucket.take_on_credit(1.0, start + Duration::from_secs(2)));
    }

    #[test]
    fn another_rate_counts_from_now_on() {
        let start = Instant::now();
        let mut bucket = TokenBucket::full(2.0, start);
        assert!(bucket.take(2.0, start));
        let later = start + Duration::from_millis(500);
        bucket.set_rate(100.0, later);
        assert!(bucket.take(1.0, later) && !bucket.take(1.0, later));
        assert_eq!(
            bucket.ready_at(1.0, later),
            later + Duration::from_millis(10)
        );
        bucket.set_rate(1.0, later + Duration::from_secs(1));
        let after = later + Duration::from_secs(1);
        assert!(bucket.take(1.0, after) && !bucket.take(1.0, after));
    }

    #[test]
    fn a_burst_is_held_and_no_more() {
        let start = Instant::now();
        let mut bucket = TokenBucket::full(2.0, start).with_burst(5.0);
        assert!(bucket.take(5.0, start) && !bucket.has_some(start));
        let after = start + Duration::from_secs(60);
        assert!(bucket.has(5.0, after) && !bucket.has(5.5, after));
    }

    #[test]
    fn credited_time_stays_until_it_is_used() {
        let start = Instant::now();
        let mut bucket = TokenBucket::full(2.0, start);
        bucket.credit_time(Duration::from_secs(10), start + Duration::from_secs(10));
        let after = start + Duration::from_secs(60);
        assert!(bucket.take(22.0, after) && !bucket.take(0.5, after));
    }

    #[test]
    fn a_debt_is_not_paid_twice_by_the_time_that_is_made_up_for() {
        let start = Instant::now();
        let mut bucket = TokenBucket::full(10.0, start);
        assert!(bucket.take_on_credit(210.0, start));
        let stall = Duration::from_secs(15);
        bucket.credit_time(stall, start + stall);
        // 150 of the 200 that it owes.
        let paid = start + Duration::from_secs(20);
        assert!(!bucket.has_some(paid));
        assert!(bucket.has_some(paid + Duration::from_millis(1)));
    }

    #[test]
    fn a_moment_that_no_clock_can_show_is_far_away() {
        let start = Instant::now();
        let mut bucket = TokenBucket::full(1e-18, start);
        assert!(bucket.ready_at(1.0, start) > start + Duration::from_secs(3600));
    }

    #[test]
    fn a_rate_below_one_still_lets_one_through() {
        let start = Instant::now();
        let mut bucket = TokenBucket::full(0.5, start);
        assert!(!bucket.take(1.0, start));
        assert!(bucket.take(1.0, start + Duration::from_secs(1)));
    }
}
