//! Connections that wait for their next exchange.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use tokio::time::Instant;

use crate::{instant::saturating_add, lock::lock, net::connect::Address};

use super::{connection::Http1Connection, settings::ForwardHttp};

/// The idle connections of one layer, by the upstream's address.
#[derive(Debug, Default)]
pub(crate) struct IdleConnections(Mutex<IdleLists>);

#[derive(Debug, Default)]
struct IdleLists {
    /// Connections by address, the latest last.
    lists: HashMap<Address, Vec<Http1Connection>>,
    /// Time of the last sweep over all lists.
    last_sweep: Option<Instant>,
}

impl IdleConnections {
    /// Takes the connection to this upstream that has been idle for the shortest time.
    pub(crate) fn take(&self, address: &Address) -> Option<Http1Connection> {
        let mut state = self.lock();
        let list = state.lists.get_mut(address)?;
        list.retain(|connection| !connection.is_closed());
        let index = list.iter().rposition(Http1Connection::is_ready)?;
        let mut connection = list.remove(index);
        connection.set_busy();
        Some(connection)
    }

    /// Keeps a connection after its exchange, if there is room for it.
    pub(super) fn keep(
        &self,
        address: &Address,
        mut connection: Http1Connection,
        settings: &ForwardHttp,
        announced: Option<std::time::Duration>,
    ) {
        let second = std::time::Duration::from_secs(1);
        let announced = announced.map(|announced| announced.saturating_sub(second));
        let wait = settings.idle_connection_timeout;
        let wait = announced.map_or(wait, |announced| announced.min(wait));
        let now = Instant::now();
        let is_old = settings
            .max_connection_age
            .is_some_and(|limit| connection.age(now) >= limit);
        if wait.is_zero() || settings.idle_connections == 0 || is_old || connection.is_closed() {
            return;
        }
        connection.set_idle(saturating_add(now, wait));
        let mut state = self.lock();
        if state
            .last_sweep
            .is_none_or(|last_sweep| saturating_add(last_sweep, wait) <= now)
        {
            state.sweep(now);
        }
        let list = state.lists.entry(address.clone()).or_default();
        list.retain(|connection| !connection.is_closed());
        if list.len() >= settings.idle_connections {
            // The upstream will close the oldest connection first.
            list.remove(0);
        }
        list.push(connection);
    }

    fn lock(&self) -> MutexGuard<'_, IdleLists> {
        lock(&self.0)
    }
}

impl IdleLists {
    /// Removes closed connections, also those of upstreams that get no more requests.
    fn sweep(&mut self, now: Instant) {
        self.lists.retain(|_, list| {
            list.retain(|connection| !connection.is_closed());
            !list.is_empty()
        });
        self.last_sweep = Some(now);
    }
}
