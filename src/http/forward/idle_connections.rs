//! Connections that wait for their next exchange.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use crate::{instant::saturating_add, lock::lock, net::connect::Address};

use super::{connection::Http1Connection, settings::ForwardHttp};

/// Time before the end that the upstream announces, from which a connection is not used any more.
const MARGIN: Duration = Duration::from_secs(1);

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
        announced: Option<Duration>,
    ) {
        let now = Instant::now();
        let announced = announced.map(|announced| announced.saturating_sub(MARGIN));
        let age = connection.age(now);
        let left = settings.max_connection_age;
        let left = left.map(|limit| limit.saturating_sub(age));
        let wait = [announced, left].into_iter().flatten();
        let wait = wait.fold(settings.idle_connection_timeout, Duration::min);
        if wait.is_zero() || settings.idle_connections == 0 || connection.is_closed() {
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
        let list = match state.lists.get_mut(address) {
            Some(list) => list,
            None => state.lists.entry(address.clone()).or_default(),
        };
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
