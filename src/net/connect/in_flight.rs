//! Calls in progress that are shared by all callers that need the same result.

use std::{
    collections::{HashMap, hash_map},
    fmt,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, Weak},
};

use tokio::{
    sync::{Semaphore, watch},
    task::AbortHandle,
};

use crate::{lock::lock, task};

/// Calls in progress, by key, with a bound on those that run at once.
///
/// A call outlives the callers that wait for it: its result may be wanted soon, and work on a
/// blocking thread cannot be called off. It ends with the owner of this value.
pub(crate) struct InFlight<K, V> {
    calls: Arc<Mutex<HashMap<K, Call<V>>>>,
    permits: Arc<Semaphore>,
}

struct Call<V> {
    result: watch::Receiver<Option<V>>,
    /// `None` for the moment in which the call is being started.
    task: Option<AbortHandle>,
}

impl<K, V> InFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Creates an empty set of calls, of which at most this many run at once; others wait for them.
    pub(crate) fn at_most(max_running: usize) -> Self {
        Self {
            calls: Arc::default(),
            permits: Arc::new(Semaphore::new(max_running)),
        }
    }

    /// Waits for the result of this key's call, which is started unless it is in progress. `None`
    /// if the call panicked.
    ///
    /// # Cancellation
    ///
    /// The call goes on without the caller.
    pub(crate) async fn join<F>(&self, key: K, call: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut result = self.result_of(&key, call);
        let found = result.wait_for(Option::is_some).await.ok()?;
        found.clone()
    }

    fn result_of<F>(&self, key: &K, call: impl FnOnce() -> F) -> watch::Receiver<Option<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (sender, result) = watch::channel(None);
        match lock(&self.calls).entry(key.clone()) {
            hash_map::Entry::Occupied(known) => return known.get().result.clone(),
            hash_map::Entry::Vacant(vacant) => vacant.insert(Call {
                result: result.clone(),
                task: None,
            }),
        };
        let registration = Registration {
            calls: Arc::downgrade(&self.calls),
            key: key.clone(),
        };
        let (permits, call) = (Arc::clone(&self.permits), call());
        // Without the lock: a runtime that shuts down drops the future at once.
        let handle = task::spawn(async move {
            let permit = permits.acquire_owned().await;
            let value = call.await;
            drop(permit);
            // A caller that comes from here on makes a call of its own.
            drop(registration);
            sender.send_replace(Some(value));
        });
        if let Some(call) = lock(&self.calls).get_mut(key) {
            if call.result.same_channel(&result) {
                call.task = Some(handle);
            }
        }
        result
    }
}

impl<K, V> Drop for InFlight<K, V> {
    fn drop(&mut self) {
        for task in lock(&self.calls)
            .values()
            .filter_map(|call| call.task.as_ref())
        {
            task.abort();
        }
    }
}

/// Registration of a call, which is removed when the call ends, panics or is dropped.
struct Registration<K: Eq + Hash, V> {
    calls: Weak<Mutex<HashMap<K, Call<V>>>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Registration<K, V> {
    fn drop(&mut self) {
        if let Some(calls) = self.calls.upgrade() {
            lock(&calls).remove(&self.key);
        }
    }
}

impl<K, V> fmt::Debug for InFlight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("calls", &lock(&self.calls).len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::{JoinSet, yield_now};

    use super::*;

    /// Calls that run until the gate has as many permits as there are calls.
    #[derive(Clone)]
    struct Calls {
        in_flight: Arc<InFlight<usize, usize>>,
        started: Arc<AtomicUsize>,
        gate: Arc<Semaphore>,
    }

    impl Calls {
        fn at_most(max_running: usize) -> Self {
            Self {
                in_flight: Arc::new(InFlight::at_most(max_running)),
                started: Arc::default(),
                gate: Arc::new(Semaphore::new(0)),
            }
        }

        async fn join(self, key: usize) -> Option<usize> {
            let (started, gate) = (self.started, self.gate);
            let call = || async move {
                let count = started.fetch_add(1, Ordering::Relaxed);
                gate.acquire().await.unwrap().forget();
                assert_ne!(key, 13, "the call panics");
                count
            };
            self.in_flight.join(key, call).await
        }

        /// Lets all tasks run until they wait, and returns the number of calls that have started.
        async fn started(&self) -> usize {
            for _ in 0..20 {
                yield_now().await;
            }
            self.started.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn callers_with_one_key_share_a_call_and_later_ones_make_another() {
        let calls = Calls::at_most(8);
        let mut callers = JoinSet::new();
        for _ in 0..100 {
            callers.spawn(calls.clone().join(1));
        }
        assert_eq!(calls.started().await, 1);
        calls.gate.add_permits(2);
        assert_eq!(callers.join_all().await, vec![Some(0); 100]);
        assert_eq!(calls.clone().join(1).await, Some(1));
    }

    #[tokio::test]
    async fn callers_that_leave_neither_end_a_call_nor_make_room_for_another() {
        let calls = Calls::at_most(3);
        let mut callers = JoinSet::new();
        for key in 100..200 {
            callers.spawn(calls.clone().join(key));
        }
        assert_eq!(calls.started().await, 3);
        callers.shutdown().await;
        assert_eq!(calls.started().await, 3);
        calls.gate.add_permits(1);
        assert_eq!(calls.started().await, 4);
    }

    #[tokio::test]
    async fn a_call_that_panics_fails_its_callers_and_is_forgotten() {
        let calls = Calls::at_most(1);
        calls.gate.add_permits(9);
        assert_eq!(calls.clone().join(13).await, None);
        assert_eq!(calls.clone().join(13).await, None);
        assert_eq!(calls.clone().join(7).await, Some(2));
    }

    #[tokio::test]
    async fn calls_end_with_their_owner() {
        let calls = Calls::at_most(1);
        let gate = Arc::downgrade(&calls.gate);
        let mut callers = JoinSet::new();
        callers.spawn(calls.clone().join(1));
        assert_eq!(calls.started().await, 1);
        callers.shutdown().await;
        drop(calls);
        for _ in 0..20 {
            yield_now().await;
        }
        assert!(gate.upgrade().is_none(), "the call still runs");
    }

    /// A runtime that shuts down drops a new task where it is spawned.
    #[test]
    fn a_call_that_cannot_be_started_fails_and_locks_nothing_up() {
        let calls = Calls::at_most(1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        drop(runtime);
        let _context = handle.enter();
        for _ in 0..2 {
            let mut joining = tokio_test::task::spawn(calls.clone().join(1));
            assert_eq!(joining.poll(), std::task::Poll::Ready(None));
        }
    }
}
