//! The shared connections to one address.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{error::Error, instant::saturating_add, net::connect::Address};

use super::connection::{Connection, StreamSlot};

/// How long an upstream is remembered to want HTTP/1.1.
const HTTP1_MEMORY: Duration = Duration::from_secs(300);

/// An upstream's address, with the connections shared there.
pub(crate) struct Peer {
    address: Address,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connections: Vec<Arc<Connection>>,
    /// Set while a connection is being opened. Ends with that, with its error if it failed.
    opening: Option<watch::Receiver<Option<Error>>>,
    /// HTTP/1.1 is spoken until then where either version would do.
    http1_until: Option<Instant>,
}

/// Outcome of a search for a slot.
pub(super) enum Checkout {
    Take(StreamSlot),
    /// All connections are full: open another.
    Open(PendingConnection),
    /// A connection is being opened already.
    Wait(watch::Receiver<Option<Error>>),
}

/// Guard: at most one connection is being opened per peer. The waiters go on when it is dropped.
pub(super) struct PendingConnection {
    peer: Arc<Peer>,
    outcome: watch::Sender<Option<Error>>,
}

impl Peer {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            state: Mutex::default(),
        }
    }

    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    /// Finds a slot on a connection that was not tried.
    pub(super) fn checkout(self: &Arc<Self>, tried: &[Arc<Connection>]) -> Checkout {
        let mut state = self.state();
        state.connections.retain(|connection| connection.is_open());
        // The first with a free slot, so that those behind it can run empty and be closed.
        let untried = |connection: &&Arc<Connection>| {
            !tried.iter().any(|tried| Arc::ptr_eq(tried, connection))
        };
        let slot = state
            .connections
            .iter()
            .filter(untried)
            .find_map(|connection| connection.take(self));
        if let Some(slot) = slot {
            return Checkout::Take(slot);
        }
        if let Some(opening) = &state.opening {
            return Checkout::Wait(opening.clone());
        }
        let (outcome, opening) = watch::channel(None);
        state.opening = Some(opening);
        Checkout::Open(PendingConnection {
            peer: Arc::clone(self),
            outcome,
        })
    }

    /// Whether the upstream was recently found to want HTTP/1.1.
    pub(super) fn wants_http1(&self, now: Instant) -> bool {
        self.state().http1_until.is_some_and(|until| now < until)
    }

    pub(super) fn remember_http1(&self, now: Instant) {
        self.state().http1_until = Some(saturating_add(now, HTTP1_MEMORY));
    }

    /// Whether the entry holds nothing and can be forgotten.
    pub(super) fn is_blank(&self, now: Instant) -> bool {
        let state = self.state();
        let has_open = state.connections.iter().any(|known| known.is_open());
        !has_open && state.opening.is_none() && state.http1_until.is_none_or(|until| until <= now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("address", &self.address)
            .field("connections", &self.state().connections)
            .finish_non_exhaustive()
    }
}

impl PendingConnection {
    pub(super) const fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Shares the connection, once its opener has got a slot on it.
    pub(super) fn share(self, connection: Arc<Connection>) -> Option<StreamSlot> {
        let slot = connection.take(&self.peer);
        self.peer.state().connections.push(connection);
        slot
    }

    /// Passes the error on to the waiters.
    pub(super) fn fail(self, error: &Error) {
        // There may be no waiter.
        let _ = self.outcome.send(Some(error.clone()));
    }
}

impl Drop for PendingConnection {
    fn drop(&mut self) {
        self.peer.state().opening = None;
    }
}
