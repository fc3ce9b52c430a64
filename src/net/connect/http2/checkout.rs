//! Search for a stream slot on the connections to one address.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::Error;

use super::{connection::Connection, peer::Peer, stream_slot::StreamSlot};

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
            .find_map(|connection| StreamSlot::take(connection, self));
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
}

impl PendingConnection {
    pub(super) const fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Shares the connection, once its opener has got a slot on it.
    pub(super) fn share(self, connection: Arc<Connection>) -> Option<StreamSlot> {
        let slot = StreamSlot::take(&connection, &self.peer);
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
