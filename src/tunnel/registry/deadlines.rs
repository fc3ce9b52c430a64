//! Deadlines of the tunnels in a registry: the moments at which the host wants them closed.
//!
//! One task and one timer for all of them, since a timer for each would cost more than all else that
//! a host says about a tunnel. The task exists while there are deadlines.

use std::{collections::BTreeSet, sync::Mutex, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{instant::saturating_add, lock::lock};

/// Deadlines of tunnels, by their moments.
pub(super) struct Deadlines {
    queue: Mutex<Queue>,
    /// Start of the time that the queue counts.
    epoch: Instant,
    /// Notified when the first deadline is another one.
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    due: BTreeSet<Due>,
    is_watched: bool,
}

/// A moment in milliseconds, and a tunnel's number: the low 48 bits of each, the highest byte first, in
/// half the room of an instant and a number. Both last for thousands of years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due([[u8; 6]; 2]);

/// Whether the caller is to start the task that watches the deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchState {
    Missing,
    Running,
}

/// The right to watch; given up on drop, also when the runtime of the task goes away.
struct Watch<'a> {
    deadlines: &'a Deadlines,
    /// Whether the end was recorded already.
    is_over: bool,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            queue: Mutex::default(),
            epoch: Instant::now(),
            changed: Notify::new(),
        }
    }
}

impl Deadlines {
    pub(super) fn add(&self, at: Instant, id: u64) -> WatchState {
        let due = Due::new(self.millis(at), id);
        let mut queue = lock(&self.queue);
        queue.due.insert(due);
        if !std::mem::replace(&mut queue.is_watched, true) {
            return WatchState::Missing;
        }
        if queue.due.first() == Some(&due) {
            self.changed.notify_one();
        }
        WatchState::Running
    }

    pub(super) fn remove(&self, at: Instant, id: u64) {
        let due = Due::new(self.millis(at), id);
        let mut queue = lock(&self.queue);
        queue.due.remove(&due);
        if queue.due.is_empty() {
            self.changed.notify_one();
        }
    }

    /// Calls the function for each tunnel at its deadline, until there are none.
    pub(super) async fn watch(&self, mut close: impl FnMut(u64)) {
        let mut watch = Watch {
            deadlines: self,
            is_over: false,
        };
        while let Some(at) = watch.first() {
            if timeout_at(at, self.changed.notified()).await.is_err() {
                self.take_due(Instant::now())
                    .into_iter()
                    .for_each(&mut close);
            }
        }
    }

    fn take_due(&self, now: Instant) -> Vec<u64> {
        let since = now.saturating_duration_since(self.epoch);
        let next = u64::try_from(since.as_millis()).map_or(u64::MAX, |now| now.saturating_add(1));
        let mut queue = lock(&self.queue);
        let later = queue.due.split_off(&Due::new(next, 0));
        let due = std::mem::replace(&mut queue.due, later);
        due.into_iter().map(Due::id).collect()
    }

    /// The moment, or the next millisecond: nothing is closed before its deadline.
    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch);
        u64::try_from(since.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    fn instant(&self, due: Due) -> Instant {
        saturating_add(self.epoch, Duration::from_millis(due.millis()))
    }
}

impl Due {
    fn new(millis: u64, id: u64) -> Self {
        let last = (1 << 48) - 1;
        let low = |value: u64| {
            let [_, _, low @ ..] = value.to_be_bytes();
            low
        };
        Self([low(millis.min(last)), low(id)])
    }

    fn millis(self) -> u64 {
        let Self([millis, _]) = self;
        whole(millis)
    }

    fn id(self) -> u64 {
        let Self([_, id]) = self;
        whole(id)
    }
}

fn whole([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

impl Watch<'_> {
    /// Returns the first deadline. Without one the watch is over.
    fn first(&mut self) -> Option<Instant> {
        let mut queue = lock(&self.deadlines.queue);
        let first = queue.due.first().map(|due| self.deadlines.instant(*due));
        if first.is_none() {
            queue.is_watched = false;
            self.is_over = true;
        }
        first
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            lock(&self.deadlines.queue).is_watched = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::{sync::mpsc, time::sleep};

    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[tokio::test(start_paused = true)]
    async fn tunnels_are_closed_in_the_order_of_their_deadlines_by_one_watch() {
        let deadlines = Arc::new(Deadlines::default());
        let began = Instant::now();
        assert_eq!(deadlines.add(began + secs(30), 1), WatchState::Missing);
        let (closed, mut closes) = mpsc::unbounded_channel();
        let watched = Arc::clone(&deadlines);
        let watch = tokio::spawn(async move {
            let close = |id| closed.send((id, began.elapsed())).unwrap();
            watched.watch(close).await;
        });
        sleep(secs(1)).await;
        for (at, id) in [(10, 2), (20, 3), (20, 4), (5, 5)] {
            let state = deadlines.add(began + secs(at), id);
            assert_eq!(state, WatchState::Running);
        }
        deadlines.remove(began + secs(20), 3);
        for (id, at) in [(5, 5), (2, 10), (4, 20), (1, 30)] {
            assert_eq!(closes.recv().await, Some((id, secs(at))));
        }
        watch.await.unwrap();
        assert_eq!(deadlines.add(began, 6), WatchState::Missing);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_is_closed_in_the_millisecond_of_its_deadline_and_not_before() {
        let deadlines = Deadlines::default();
        let began = Instant::now();
        let nanos = Duration::from_nanos;
        deadlines.add(began + nanos(2_000_001), 7);
        deadlines.add(began + nanos(2_000_000), 8);
        deadlines.add(began + Duration::MAX / 4, 9);
        assert!(deadlines.take_due(began + nanos(1_999_999)).is_empty());
        assert_eq!(deadlines.take_due(began + nanos(2_999_999)), [8]);
        assert_eq!(deadlines.take_due(began + nanos(3_000_000)), [7]);
        deadlines.remove(began + Duration::MAX / 4, 9);
        assert!(lock(&deadlines.queue).due.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_watch_ends_when_the_last_deadline_is_removed() {
        let deadlines = Deadlines::default();
        let at = Instant::now() + secs(3600);
        deadlines.add(at, 1);
        let began = Instant::now();
        let end = async {
            sleep(secs(1)).await;
            deadlines.remove(at, 1);
        };
        tokio::join!(deadlines.watch(|id| panic!("{id}")), end);
        assert_eq!(began.elapsed(), secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_was_dropped_is_started_again_by_the_next_tunnel() {
        let deadlines = Deadlines::default();
        let at = Instant::now() + secs(1);
        deadlines.add(at, 1);
        drop(Box::pin(deadlines.watch(|_| {})));
        {
            let watch = deadlines.watch(|_| {});
            tokio::select! {
                biased;
                () = watch => panic!("the deadline has not come"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(deadlines.add(at, 2), WatchState::Missing);
        let mut closed = Vec::new();
        deadlines.watch(|id| closed.push(id)).await;
        assert_eq!(closed, [1, 2]);
    }
}
