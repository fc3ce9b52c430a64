//! The purpose for which a connection is open, shared by its owner and the task that drives it.

use std::{
    sync::{Arc, Mutex, MutexGuard, Weak},
    task::Waker,
};

use tokio::time::Instant;

use crate::{http::relay::Relay, lock::lock};

/// Purpose for which a connection is open.
#[derive(Clone)]
pub(super) enum Activity {
    Exchange,
    /// The response is on its way to the client.
    Response(Weak<Relay>),
    /// Waiting for the next exchange, up to this time.
    Idle(Instant),
    /// The owner does not need the connection any more.
    Over,
}

/// Activity of a connection.
///
/// A change wakes the task only if the task would otherwise come too late. The timer of an earlier
/// activity does as well, since the task looks again when it fires: a short exchange between two idle
/// times costs the task neither a poll nor a timer.
pub(super) struct SharedActivity(Mutex<State>);

struct State {
    activity: Activity,
    /// Waker of the task, once that has been polled.
    task: Option<Waker>,
    /// Time at which the task looks again; `None` while it is being polled, and if it has no timer.
    next_look: Option<Instant>,
}

impl SharedActivity {
    /// Starts with an exchange.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            activity: Activity::Exchange,
            task: None,
            next_look: None,
        })))
    }

    /// An exchange begins, which has bounds of its own.
    pub(super) fn set_exchange(&self) {
        self.state().activity = Activity::Exchange;
    }

    /// A response is relayed, whose clocks the task has to watch.
    pub(super) fn set_response(&self, relay: &Arc<Relay>) {
        let mut state = self.state();
        state.activity = Activity::Response(Arc::downgrade(relay));
        let (task, next_look) = (state.task.clone(), state.next_look);
        drop(state);
        let Some(task) = task else { return };
        let due = relay.watch(&task);
        if due.is_some_and(|due| is_late(next_look, due)) {
            task.wake();
        }
    }

    /// The connection waits for another exchange up to this time.
    pub(super) fn set_idle(&self, until: Instant) {
        let mut state = self.state();
        state.activity = Activity::Idle(until);
        if is_late(state.next_look, until) {
            state.wake();
        }
    }

    /// The connection is not needed any more.
    pub(super) fn set_over(&self) {
        let mut state = self.state();
        state.activity = Activity::Over;
        state.wake();
    }

    /// Returns the activity to the task of this waker. Every change wakes the task until it has
    /// [set](Self::set_next_look) when it looks again.
    pub(super) fn look(&self, task: &Waker) -> Activity {
        let mut state = self.state();
        state.next_look = None;
        if !state.task.as_ref().is_some_and(|it| it.will_wake(task)) {
            state.task = Some(task.clone());
        }
        state.activity.clone()
    }

    /// Sets when the task looks again, whatever happens; `None` if only a change lets it do so.
    pub(super) fn set_next_look(&self, at: Option<Instant>) {
        self.state().next_look = at;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl State {
    fn wake(&self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }
}

/// Returns whether a task that looks then comes too late for something that is due.
fn is_late(next_look: Option<Instant>, due: Instant) -> bool {
    next_look.is_none_or(|look| look > due)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
        time::Duration,
    };

    use crate::http::relay::RelayLimits;

    use super::*;

    #[derive(Default)]
    struct CountedWakes(AtomicUsize);

    impl Wake for CountedWakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns an activity whose task looks again in four seconds, and the wakes of the task.
    fn looked_at(now: Instant) -> (Arc<SharedActivity>, Arc<CountedWakes>) {
        let (activity, wakes) = (SharedActivity::new(), Arc::<CountedWakes>::default());
        activity.look(&Arc::clone(&wakes).into());
        activity.set_next_look(Some(now + Duration::from_secs(4)));
        (activity, wakes)
    }

    fn relay(limit: u64) -> Arc<Relay> {
        let limits = RelayLimits {
            until: Some(Instant::now() + Duration::from_secs(limit)),
            ..RelayLimits::default()
        };
        let body = http_body_util::Empty::new();
        let body = http_body_util::BodyExt::map_err(body, |never| match never {});
        Relay::new(Box::pin(body), limits, 0)
    }

    #[test]
    fn a_short_exchange_between_two_idle_times_does_not_wake_the_task() {
        let now = Instant::now();
        let (activity, wakes) = looked_at(now);
        activity.set_exchange();
        activity.set_response(&relay(60));
        activity.set_idle(now + Duration::from_secs(5));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_due_before_the_next_look_wakes_the_task() {
        let now = Instant::now();
        let (activity, wakes) = looked_at(now);
        activity.set_response(&relay(3));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        activity.set_idle(now + Duration::from_secs(3));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
        activity.set_over();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn every_change_during_a_poll_wakes_the_task_again() {
        let now = Instant::now();
        let (activity, wakes) = looked_at(now);
        let waker = Arc::clone(&wakes).into();
        for (index, relay) in [relay(60), relay(70)].iter().enumerate() {
            activity.look(&waker);
            activity.set_response(relay);
            assert_eq!(wakes.0.load(Ordering::Relaxed), index * 2 + 1);
            activity.look(&waker);
            activity.set_idle(now + Duration::from_secs(70));
            assert_eq!(wakes.0.load(Ordering::Relaxed), index * 2 + 2);
        }
    }
}
