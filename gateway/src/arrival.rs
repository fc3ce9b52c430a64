//! Arrival of a connection: the time from its acceptance to its first response.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

/// Guard of a listener that accepts connections, or of a connection that has had no response yet. The
/// gateway waits for all guards before it drains.
#[derive(Debug)]
pub(crate) struct Arrival(Mutex<Option<mpsc::Sender<Infallible>>>);

impl Arrival {
    /// Guard on the channel that is closed once all guards are over.
    pub(crate) fn new(guard: &mpsc::Sender<Infallible>) -> Self {
        Self(Mutex::new(Some(guard.clone())))
    }

    /// Guard that no channel waits for.
    pub(crate) const fn unwatched() -> Self {
        Self(Mutex::new(None))
    }

    /// Guard of a connection that this listener accepted.
    pub(crate) fn of_connection(&self) -> Self {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Self(Mutex::new(guard.clone()))
    }

    /// Ends the arrival: the connection has had a response. Dropping the guard does the same.
    pub(crate) fn end(&self) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *guard = None;
    }
}
