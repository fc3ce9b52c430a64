//! Handle of an observer.

use std::{fmt, sync::Arc};

use super::observer::Observer;

/// Handle of an observer of a pool, from [`Pool::observe`](crate::Pool::observe). The observer gets events
/// until the handle is dropped; one that is being reported meanwhile may still come.
#[must_use = "the observer gets no more events when this is dropped"]
pub struct ObserverHandle(#[expect(dead_code, reason = "held for its drop")] Arc<dyn Observer>);

impl ObserverHandle {
    pub(crate) fn new(observer: Arc<dyn Observer>) -> Self {
        Self(observer)
    }
}

impl fmt::Debug for ObserverHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserverHandle").finish_non_exhaustive()
    }
}
