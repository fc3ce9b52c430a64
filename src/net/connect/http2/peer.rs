//! Connections that are shared at one address.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{error::Error, instant::saturating_add, lock::lock, net::connect::address::Address};

use super::connection::Connection;

/// How long it is remembered that an upstream wants HTTP/1.1.
const HTTP1_MEMORY: Duration = Duration::from_secs(300);

/// An upstream, as far as connections to it are shared.
pub(crate) struct Peer {
    address: Address,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) connections: Vec<Arc<Connection>>,
    /// Set while a connection is being opened. Ends with that, with its error if it failed.
    pub(super) opening: Option<watch::Receiver<Option<Error>>>,
    /// HTTP/1.1 is spoken until then where either version would do.
    http1_until: Option<Instant>,
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

    /// Whether the upstream was recently found to want HTTP/1.1.
    pub(super) fn wants_http1(&self, now: Instant) -> bool {
        self.state().http1_until.is_some_and(|until| now < until)
    }

    pub(super) fn remember_http1(&self, now: Instant) {
        self.state().http1_until = Some(saturating_add(now, HTTP1_MEMORY));
    }

    /// Whether the upstream has no connection, and nothing is remembered about it.
    pub(super) fn is_blank(&self, now: Instant) -> bool {
        let state = self.state();
        let has_open = state.connections.iter().any(|known| known.is_open());
        !has_open && state.opening.is_none() && state.http1_until.is_none_or(|until| until <= now)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
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
