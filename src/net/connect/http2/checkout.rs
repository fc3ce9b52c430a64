//! The search for a place on the connections to one address.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::Error;

use super::{connection::Connection, peer::Peer, stream_slot::StreamSlot};

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
            .find_map(|connection| StreamSlot::take(connection, self));
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
}

impl PendingConnection {
    pub(super) const fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Shares the connection, once its opener has got a place on it.
    pub(super) fn share(self, connection: Arc<Connection>) -> Option<StreamSlot> {
        let place = StreamSlot::take(&connection, &self.peer);
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
