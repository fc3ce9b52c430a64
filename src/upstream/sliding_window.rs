//! Sliding window of ten slots. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::instant::saturating_add;

/// Number of slots of a window.
const SLOTS: u64 = 10;

/// Counts within a sliding window, which moves on by a slot at a time, so that memory does not grow
/// with the number of events.
#[derive(Clone, Debug)]
pub(crate) struct SlidingWindow<T> {
    /// Time of one slot.
    step: Duration,
    /// Start of the first slot.
    origin: Option<Instant>,
    /// Number of the newest slot, counted from the origin.
    newest: u64,
    /// Slots; the slot of number n has the index n modulo the length.
    slots: [T; SLOTS as usize],
}

impl<T: Copy + Default + PartialEq> SlidingWindow<T> {
    /// Creates a window of this length, at least 10 milliseconds.
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            step: (length / SLOTS as u32).max(Duration::from_millis(1)),
            origin: None,
            newest: 0,
            slots: [T::default(); SLOTS as usize],
        }
    }

    /// Drops the slots that have left the window, and returns the number of the newest. A time before
    /// it changes nothing.
    pub(crate) fn slide(&mut self, now: Instant) -> u64 {
        let origin = *self.origin.get_or_insert(now);
        let elapsed = now.saturating_duration_since(origin);
        let number = (elapsed.as_nanos() / self.step.as_nanos()) as u64;
        let passed = number.saturating_sub(self.newest);
        for passed in 1..=passed.min(SLOTS) {
            self.slots[((self.newest + passed) % SLOTS) as usize] = T::default();
        }
        // After all slots were cleared, the skipped ones are empty too.
        self.newest += passed;
        self.newest
    }

    /// Returns the slot of this time; the newest slot for an earlier time.
    pub(crate) fn slot(&mut self, now: Instant) -> &mut T {
        let newest = self.slide(now);
        &mut self.slots[(newest % SLOTS) as usize]
    }

    /// Returns the slot of this number, if it has not left the window.
    pub(crate) fn slot_of(&mut self, number: u64) -> Option<&mut T> {
        let age = self.newest.checked_sub(number)?;
        (age < SLOTS).then(|| &mut self.slots[(number % SLOTS) as usize])
    }

    /// Returns the slots, in any order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &T> {
        self.slots.iter()
    }

    /// Returns when the oldest slot with an event leaves the window.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let oldest = (self.newest + 1).saturating_sub(SLOTS);
        let number = (oldest..=self.newest)
            .find(|number| self.slots[(number % SLOTS) as usize] != T::default())?;
        let steps = u32::try_from(number + SLOTS).unwrap_or(u32::MAX);
        Some(saturating_add(
            self.origin?,
            self.step.saturating_mul(steps),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn window() -> SlidingWindow<u32> {
        SlidingWindow::new(10 * SECOND)
    }

    #[test]
    fn a_slot_is_found_by_its_number_until_it_has_left_the_window() {
        let (start, mut window) = (Instant::now(), window());
        for second in 0..25_u32 {
            *window.slot(start + second * SECOND) = second + 1;
            for number in 0..=second {
                let is_left = second - number < 10;
                let slot = window.slot_of(number.into()).copied();
                assert_eq!(slot, is_left.then_some(number + 1), "{number} at {second}");
            }
            assert_eq!(window.slot_of(u64::from(second) + 1), None, "to come");
            let held = window.slots().filter(|slot| **slot != 0).count();
            assert_eq!(held, (second as usize + 1).min(10), "at {second}");
        }
    }

    #[test]
    fn the_window_changes_next_when_its_oldest_event_leaves_it() {
        let start = Instant::now();
        for second in 0..25_u32 {
            let mut window = window();
            window.slide(start);
            assert_eq!(window.next_expiry(), None);
            *window.slot(start + second * SECOND) = 1;
            let expiry = start + (second + 10) * SECOND;
            assert_eq!(window.next_expiry(), Some(expiry));
            *window.slot(start + (second + 9) * SECOND) = 1;
            assert_eq!(window.next_expiry(), Some(expiry));
            window.slide(expiry);
            assert_eq!(window.next_expiry(), Some(expiry + 9 * SECOND));
        }
    }
}
