//! The upstreams' side of the network: connections, and the responses to handshakes.

use std::{
    cell::{Cell, OnceCell},
    future::ready,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tungstenite::handshake::derive_accept_key;
use wsplice::{
    connect::{Address, Connect, ConnectFuture, Transport},
    tunnel::Side,
};

use crate::support::pipe::{State, connection};

use super::{party::Party, plan::Behavior};

/// The names of the upstreams.
pub(super) const UPSTREAMS: [&str; 2] = ["a:80", "b:80"];

/// The connector to the upstreams.
#[derive(Clone, Debug)]
pub(super) struct Network(Arc<Mutex<Connections>>);

pub(super) struct Connections {
    pub(super) behavior: Behavior,
    /// In the order in which they were made.
    pub(super) legs: Vec<Leg>,
}

/// A connection to an upstream.
pub(super) struct Leg {
    /// Number of the upstream.
    pub(super) upstream: usize,
    pub(super) party: Party,
    // Both are asked after each step, for each connection, and do not change once they are known.
    client: OnceCell<usize>,
    is_accepted: Cell<bool>,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

impl Network {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Connections {
            behavior: Behavior::Accept,
            legs: Vec::new(),
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Connections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    /// The numbers of the connections of this client, on which the handshake was accepted.
    pub(super) fn accepted(&self, client: usize) -> Vec<usize> {
        let legs = self.legs.iter().enumerate();
        let accepted = legs.filter(|(_, leg)| leg.client() == Some(client) && leg.is_accepted());
        accepted.map(|(number, _)| number).collect()
    }

    /// Responds to the handshakes that wait.
    pub(super) fn respond(&self, behavior: Behavior) {
        for leg in self.legs.iter().filter(|leg| leg.is_waiting()) {
            leg.party.far.change(|state| respond(state, behavior));
        }
    }
}

impl Leg {
    fn new(upstream: usize, party: Party) -> Self {
        Self {
            upstream,
            party,
            client: OnceCell::new(),
            is_accepted: Cell::new(false),
        }
    }

    /// The number of the client, which its path has, once the request line is there.
    pub(super) fn client(&self) -> Option<usize> {
        if self.client.get().is_none() {
            let state = self.party.far.state();
            let end = state.received.iter().position(|byte| *byte == b'\r')?;
            let line = std::str::from_utf8(state.received.get(..end)?).ok()?;
            let path = line.split(' ').nth(1)?;
            let _ = self.client.set(path.trim_start_matches('/').parse().ok()?);
        }
        self.client.get().copied()
    }

    pub(super) fn is_accepted(&self) -> bool {
        if !self.is_accepted.get() {
            let state = self.party.far.state();
            let is_accepted = state.sent.starts_with(b"HTTP/1.1 101") && state.read_len() > 0;
            self.is_accepted.set(is_accepted);
        }
        self.is_accepted.get()
    }

    fn is_waiting(&self) -> bool {
        let state = self.party.far.state();
        state.sent.is_empty() && state.received.ends_with(b"\r\n\r\n")
    }
}

impl Connect for Network {
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a> {
        let mut connections = self.lock();
        let behavior = connections.behavior;
        if behavior == Behavior::Fail {
            let error = io::Error::from(io::ErrorKind::ConnectionRefused);
            return Box::pin(ready(Err(error)));
        }
        let name = address.to_string();
        let upstream = UPSTREAMS.iter().position(|known| name.contains(known));
        let upstream = upstream.expect("a known upstream");
        let (far, near) = connection();
        far.respond_by(move |state| {
            let is_whole = state.received.ends_with(b"\r\n\r\n");
            if is_whole {
                respond(state, behavior);
            }
            is_whole
        });
        let name = format!("u{}", connections.legs.len());
        let party = Party::new(Side::Upstream, name, far);
        connections.legs.push(Leg::new(upstream, party));
        Box::pin(ready(Ok(Transport::new(near))))
    }
}

/// Responds to the request that was received.
fn respond(state: &mut State, behavior: Behavior) {
    let response = match behavior {
        Behavior::Late => return,
        Behavior::Accept => {
            let head = String::from_utf8_lossy(&state.received).into_owned();
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            let key = lines.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
            let key = key.expect("a key").1;
            let accept = derive_accept_key(key.as_bytes());
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            )
        }
        Behavior::Refuse(status) => {
            format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")
        }
        Behavior::Fail | Behavior::HangUp => return state.reset = true,
    };
    state.send(response.as_bytes());
}
