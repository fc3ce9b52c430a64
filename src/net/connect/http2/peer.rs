//! What is shared at one address.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{error::Error, instant::saturating_add, net::connect::Address};

use super::connection::{Connection, StreamSlot};

/// How long it is remembered that an upstream wants HTTP/1.1.
const MEMORY: Duration = Duration::from_secs(300);

/// An upstream, as far as connections to it are shared.
pub(crate) struct Peer {
    address: Address,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connections: Vec<Arc<Connection>>,
    /// Set while somebody opens a connection. Ends with that, and says what went wrong.
    opening: Option<watch::Receiver<Option<Error>>>,
    /// Until when HTTP/1.1 is spoken where there is a choice.
    http1_until: Option<Instant>,
}

/// What to do for a place.
pub(super) enum Checkout {
    Take(StreamSlot),
    /// There is no room: open a connection.
    Open(PendingConnection),
    /// Somebody is opening one already.
    Wait(watch::Receiver<Option<Error>>),
}

/// The right to open a connection, which one has at a time. Those who wait go on when it is
/// dropped.
pub(super) struct PendingConnection {
    peer: Arc<Peer>,
    told: watch::Sender<Option<Error>>,
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

    /// Finds a place on a connection that was not tried.
    pub(super) fn turn(self: &Arc<Self>, tried: &[Arc<Connection>]) -> Checkout {
        let mut state = self.state();
        state.connections.retain(|connection| connection.is_open());
        // The first with room, so that those behind it can run empty and be closed.
        let untried = |connection: &&Arc<Connection>| {
            !tried.iter().any(|tried| Arc::ptr_eq(tried, connection))
        };
        let place = state
            .connections
            .iter()
            .filter(untried)
            .find_map(|connection| connection.take(self));
        if let Some(place) = place {
            return Checkout::Take(place);
        }
        if let Some(opening) = &state.opening {
            return Checkout::Wait(opening.clone());
        }
        let (told, opening) = watch::channel(None);
        state.opening = Some(opening);
        Checkout::Open(PendingConnection {
            peer: Arc::clone(self),
            told,
        })
    }

    /// Whether the upstream was found to want HTTP/1.1, not long ago.
    pub(super) fn wants_http1(&self, now: Instant) -> bool {
        self.state().http1_until.is_some_and(|until| now < until)
    }

    pub(super) fn remember_http1(&self, now: Instant) {
        self.state().http1_until = Some(saturating_add(now, MEMORY));
    }

    /// Whether there is nothing to know of it.
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

    /// Shares the connection, once its opener has got a place on it.
    pub(super) fn share(self, connection: Arc<Connection>) -> Option<StreamSlot> {
        let place = connection.take(&self.peer);
        self.peer.state().connections.push(connection);
        place
    }

    /// Those who wait fail in the same way.
    pub(super) fn fail(self, error: &Error) {
        // Nobody has to wait.
        let _ = self.told.send(Some(error.clone()));
    }
}

impl Drop for PendingConnection {
    fn drop(&mut self) {
        self.peer.state().opening = None;
    }
}
