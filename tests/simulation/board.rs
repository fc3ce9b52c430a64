//! The state of every client, and statistics of their tunnels.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Board {
    records: Mutex<Records>,
}

#[derive(Debug)]
struct Records {
    clients: Vec<ClientState>,
    /// Tunnels by upstream.
    tunnels: Vec<usize>,
    events: Events,
}

/// State of a client.
#[derive(Clone, Copy, Debug)]
enum ClientState {
    /// The client wants no tunnel.
    Away,
    /// The client has wanted a tunnel since then.
    Without(Instant),
    /// The client has lost its tunnel, whose upstream failed at that instant.
    Lost(Instant),
    /// The client has a tunnel to this upstream.
    On(usize),
}

/// The events since the last [`Board::take_events`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    /// Tunnels that ended, and not by their clients.
    pub(crate) lost: usize,
    /// Those of them whose upstream was healthy all the while.
    pub(crate) needless: usize,
    /// Times for which clients that wanted a tunnel were without one.
    pub(crate) waits: Vec<Duration>,
    /// Those of them that began with a loss.
    pub(crate) outages: Vec<Duration>,
    /// Handshakes that got another status than 101, by status; 0 where there was no response.
    pub(crate) refused: BTreeMap<u16, usize>,
    /// The same, by proxy.
    pub(crate) refused_by_proxy: BTreeMap<usize, usize>,
    /// Messages that came back.
    pub(crate) echoes: usize,
    /// Anything that cannot be.
    pub(crate) unexpected: Vec<String>,
}

impl Board {
    pub(crate) fn new(clients: usize, upstreams: usize) -> Self {
        Self {
            records: Mutex::new(Records {
                clients: vec![ClientState::Away; clients],
                tunnels: vec![0; upstreams],
                events: Events::default(),
            }),
        }
    }

    /// Returns the events until now, and begins a new count.
    pub(crate) fn take_events(&self) -> Events {
        std::mem::take(&mut self.lock().events)
    }

    pub(crate) fn wants(&self, client: usize) {
        self.lock().clients[client] = ClientState::Without(Instant::now());
    }

    pub(crate) fn opens(&self, client: usize, upstream: usize) {
        let mut records = self.lock();
        match records.clients[client] {
            ClientState::Without(since) => records.events.waits.push(since.elapsed()),
            ClientState::Lost(since) => {
                records.events.waits.push(since.elapsed());
                records.events.outages.push(since.elapsed());
            }
            ClientState::Away | ClientState::On(_) => {}
        }
        records.tunnels[upstream] += 1;
        records.clients[client] = ClientState::On(upstream);
    }

    /// The client itself ends its tunnel.
    pub(crate) fn leaves(&self, client: usize) {
        let mut records = self.lock();
        records.leave(client);
        records.clients[client] = ClientState::Away;
    }

    /// The client's tunnel has ended; its upstream has failed it since then, if it has.
    pub(crate) fn loses(&self, client: usize, failed: Option<Instant>) {
        let mut records = self.lock();
        records.leave(client);
        records.clients[client] = ClientState::Lost(failed.unwrap_or_else(Instant::now));
        records.events.lost += 1;
        records.events.needless += usize::from(failed.is_none());
    }

    /// A handshake at this proxy got another status than 101.
    pub(crate) fn refused(&self, proxy: usize, status: u16) {
        let mut records = self.lock();
        let events = &mut records.events;
        *events.refused.entry(status).or_default() += 1;
        *events.refused_by_proxy.entry(proxy).or_default() += 1;
    }

    pub(crate) fn echoed(&self) {
        self.lock().events.echoes += 1;
    }

    pub(crate) fn unexpected(&self, what: String) {
        self.lock().events.unexpected.push(what);
    }

    /// Tunnels by upstream.
    pub(crate) fn tunnels(&self) -> Vec<usize> {
        self.lock().tunnels.clone()
    }

    /// Number of clients that want a tunnel and have none.
    pub(crate) fn without(&self) -> usize {
        let records = self.lock();
        let is_without =
            |place: &&ClientState| matches!(place, ClientState::Without(_) | ClientState::Lost(_));
        records.clients.iter().filter(is_without).count()
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    fn leave(&mut self, client: usize) {
        if let ClientState::On(upstream) = self.clients[client] {
            self.tunnels[upstream] -= 1;
        }
    }
}
