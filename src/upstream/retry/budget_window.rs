//! Sliding window over a retry budget's deposits and withdrawals. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::upstream::sliding_window::SlidingWindow;

use super::budget::{Cost, RetryBudget, WINDOW_SECONDS};

/// Deposits and withdrawals of a pool within the last seconds.
#[derive(Debug)]
pub(crate) struct BudgetWindow {
    seconds: SlidingWindow<Slot>,
    made: u64,
    denied: u64,
}

/// Deposits and withdrawals of one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Slot {
    requests: u64,
    /// Total cost of the withdrawals.
    spent: u64,
}

/// Withdrawal for one retry, which can be refunded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Withdrawal {
    second: u64,
    cost: Cost,
}

impl BudgetWindow {
    /// Deposits the share of a request whose first attempt has ended.
    pub(crate) fn deposit(&mut self, now: Instant) {
        self.seconds.slot(now).requests += 1;
    }

    /// Withdraws the cost of a retry, if the budget has enough left.
    pub(crate) fn withdraw(
        &mut self,
        budget: &RetryBudget,
        cost: Cost,
        now: Instant,
    ) -> Option<Withdrawal> {
        let second = self.seconds.slide(now);
        if self.units_left(budget) < cost.units() {
            self.denied += 1;
            return None;
        }
        self.seconds.slot(now).spent += cost.units();
        Some(Withdrawal { second, cost })
    }

    /// Counts a retry that begins.
    pub(crate) const fn count_made(&mut self) {
        self.made += 1;
    }

    /// Refunds a retry that was not made.
    pub(crate) fn refund(&mut self, Withdrawal { second, cost }: Withdrawal) {
        if let Some(slot) = self.seconds.slot_of(second) {
            slot.spent = slot.spent.saturating_sub(cost.units());
        }
    }

    /// Returns the number of retries of this cost that may be made now.
    pub(crate) fn remaining(&mut self, budget: &RetryBudget, cost: Cost, now: Instant) -> u64 {
        self.seconds.slide(now);
        self.units_left(budget) / cost.units()
    }

    /// Returns the number of retries since the pool was created.
    pub(crate) const fn made(&self) -> u64 {
        self.made
    }

    /// Returns the number of retries that the budget has denied since the pool was created.
    pub(crate) const fn denied(&self) -> u64 {
        self.denied
    }

    fn units_left(&self, budget: &RetryBudget) -> u64 {
        let requests = self.seconds.slots().map(|slot| slot.requests).sum();
        let spent = self.seconds.slots().map(|slot| slot.spent).sum();
        budget.allows(requests).saturating_sub(spent)
    }
}

impl Default for BudgetWindow {
    fn default() -> Self {
        Self {
            seconds: SlidingWindow::new(Duration::from_secs(WINDOW_SECONDS)),
            made: 0,
            denied: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the number of retries granted at this moment.
    fn granted(window: &mut BudgetWindow, budget: &RetryBudget, now: Instant, tries: u64) -> u64 {
        let granted = (0..tries)
            .filter(|_| window.withdraw(budget, Cost::Request, now).is_some())
            .count();
        (0..granted).for_each(|_| window.count_made());
        granted as u64
    }

    fn requests(window: &mut BudgetWindow, now: Instant, count: u64) {
        for _ in 0..count {
            window.deposit(now);
        }
    }

    #[test]
    fn a_share_of_the_requests_and_a_number_a_second_may_be_retries() {
        let now = Instant::now();
        let (mut window, budget) = (BudgetWindow::default(), RetryBudget::new());
        assert_eq!(granted(&mut window, &budget, now, 1000), 100);
        requests(&mut window, now, 1000);
        assert_eq!(granted(&mut window, &budget, now, 1000), 200);
        assert_eq!((window.made(), window.denied()), (300, 1700));
    }

    #[test]
    fn a_connect_costs_a_fifth() {
        let now = Instant::now();
        let (mut window, budget) = (BudgetWindow::default(), RetryBudget::new().per_second(0));
        requests(&mut window, now, 100);
        for _ in 0..99 {
            window.withdraw(&budget, Cost::Connect, now).unwrap();
        }
        assert_eq!(window.withdraw(&budget, Cost::Request, now), None);
        assert_eq!(window.remaining(&budget, Cost::Connect, now), 1);
        let last = window.withdraw(&budget, Cost::Connect, now).unwrap();
        assert_eq!(window.withdraw(&budget, Cost::Connect, now), None);
        window.refund(last);
        assert_eq!(window.remaining(&budget, Cost::Connect, now), 1);
    }

    #[test]
    fn every_fifth_request_earns_one() {
        let now = Instant::now();
        let (mut window, budget) = (BudgetWindow::default(), RetryBudget::new().per_second(0));
        requests(&mut window, now, 4);
        assert_eq!(granted(&mut window, &budget, now, 1), 0);
        requests(&mut window, now, 1);
        assert_eq!(granted(&mut window, &budget, now, 2), 1);
    }

    #[test]
    fn entries_older_than_ten_seconds_expire() {
        let start = Instant::now();
        let (mut window, budget) = (BudgetWindow::default(), RetryBudget::new().per_second(1));
        requests(&mut window, start, 50);
        assert_eq!(granted(&mut window, &budget, start, 100), 20);
        for second in 1..10 {
            assert_eq!(
                granted(&mut window, &budget, start + second * SECOND, 100),
                0
            );
        }
        let later = start + 10 * SECOND;
        assert_eq!(granted(&mut window, &budget, later, 100), 10, "no requests");
        let much_later = start + 10_000 * SECOND;
        assert_eq!(granted(&mut window, &budget, much_later, 100), 10);
    }

    #[test]
    fn a_retry_that_was_not_made_is_refunded() {
        let start = Instant::now();
        let (mut window, budget) = (
            BudgetWindow::default(),
            RetryBudget::new().ratio(0.5).per_second(0),
        );
        requests(&mut window, start, 2);
        let withdrawal = window.withdraw(&budget, Cost::Request, start).unwrap();
        assert_eq!(window.withdraw(&budget, Cost::Request, start), None);
        window.refund(withdrawal);
        assert_eq!(
            (
                window.made(),
                window.remaining(&budget, Cost::Request, start)
            ),
            (0, 1)
        );
        let withdrawal = window.withdraw(&budget, Cost::Request, start).unwrap();
        let later = start + 30 * SECOND;
        requests(&mut window, later, 2);
        assert_eq!(granted(&mut window, &budget, later, 9), 1);
        window.refund(withdrawal);
        assert_eq!(
            window.remaining(&budget, Cost::Request, later),
            0,
            "that one was another's"
        );
    }

    #[test]
    fn invalid_ratios_allow_none_or_all() {
        let now = Instant::now();
        for (share, expected) in [(f64::NAN, 0), (-1.0, 0), (f64::INFINITY, 1000)] {
            let mut window = BudgetWindow::default();
            let budget = RetryBudget::new().ratio(share).per_second(0);
            requests(&mut window, now, 1);
            assert_eq!(granted(&mut window, &budget, now, 1000), expected);
        }
    }

    proptest! {
        /// Whenever a retry is granted, the window holds no more of them than the budget allows.
        #[test]
        fn never_more_than_the_budget(
            steps in prop::collection::vec((0_u64..4000, 0_u64..30, 0_u64..30), 1..60),
            share in 0.0_f64..2.0,
            per_second in 0_u32..4,
        ) {
            let start = Instant::now();
            let budget = RetryBudget::new().ratio(share).per_second(per_second);
            let (mut window, mut at) = (BudgetWindow::default(), 0);
            let mut history = Vec::new();
            for (wait_ms, new, tries) in steps {
                at += wait_ms;
                let now = start + Duration::from_millis(at);
                requests(&mut window, now, new);
                let newly = granted(&mut window, &budget, now, tries);
                history.push((at, new, newly));
                if newly == 0 {
                    continue;
                }
                let within = |ms: u64| history.iter().filter(move |(then, ..)| then + ms > at);
                let retries: u64 = within(9_000).map(|(.., retries)| retries).sum();
                let requests: u64 = within(10_000).map(|(_, requests, _)| requests).sum();
                let cost = retries * Cost::Request.units();
                prop_assert!(cost <= budget.allows(requests), "{history:?}");
            }
        }
    }
}
