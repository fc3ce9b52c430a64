//! What the proxy reports, beside what the far ends have seen.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio_tungstenite::tungstenite::{Error as ReadError, error::ProtocolError};
use wsplice::{
    Error, ErrorKind, Observer, TunnelInfo, TunnelReport,
    health::HealthTransition,
    observe::{RequestInfo, UpstreamInfo},
    tunnel::{Side, TunnelEnd, reattach::UpstreamChange, registry::Traffic},
};

use super::{message::Message, plan::Plan};

/// The ledger of one run.
#[derive(Debug)]
pub(crate) struct Ledger {
    sound: String,
    judges_sound: bool,
    enforces: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: HashSet<u64>,
    closed: HashSet<u64>,
    /// Bytes and frames of the reports, to the upstream and to the client.
    reported: [(u64, u64); 2],
    /// Streams and numbers of the clients' messages that the upstreams have read.
    arrived: HashSet<(u32, u32)>,
    broken: Vec<String>,
    tally: Tally,
    streams: u32,
    legs: u32,
}

/// Counts of what happened, of one run or of many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(BTreeMap<String, u64>);

impl Ledger {
    pub(crate) fn new(plan: &Plan, sound: String) -> Self {
        Self {
            sound,
            // After a jump of the clock any timer may have fired.
            judges_sound: !plan.jumps(),
            enforces: plan.enforces,
            state: Mutex::default(),
        }
    }

    pub(crate) fn breach(&self, law: String) {
        self.lock().broken.push(law);
    }

    /// Checks that the bytes before this error were WebSocket.
    pub(crate) fn check(&self, reader: &str, error: &ReadError) {
        let is_fault = match error {
            ReadError::Io(_) | ReadError::ConnectionClosed | ReadError::AlreadyClosed => false,
            ReadError::Protocol(error) => match error {
                ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing => {
                    false
                }
                // What the other end sends on purpose.
                ProtocolError::InvalidOpcode(_) | ProtocolError::UnmaskedFrameFromClient => {
                    self.enforces
                }
                _ => true,
            },
            _ => true,
        };
        if is_fault {
            self.breach(format!("{reader} received {error}"));
        }
    }

    pub(crate) fn count(&self, event: impl fmt::Display) {
        self.lock().tally.count(event);
    }

    /// A number for the messages of a client's next tunnel.
    pub(crate) fn next_stream(&self) -> u32 {
        let mut state = self.lock();
        state.streams += 1;
        state.streams
    }

    /// A number for the messages of an upstream on its next leg.
    pub(crate) fn next_leg(&self) -> u32 {
        let mut state = self.lock();
        state.legs += 1;
        state.legs
    }

    /// An upstream has read a client's message.
    pub(crate) fn arrived(&self, message: Message) {
        let mut state = self.lock();
        state.tally.count("messages to upstreams");
        if !state.arrived.insert((message.stream, message.number)) {
            state.broken.push(format!("{message} arrived twice"));
        }
    }

    /// Whether each tunnel that was opened was reported.
    pub(crate) fn is_balanced(&self) -> bool {
        self.lock().open.is_empty()
    }

    /// Checks that the registry's sum is that of the reports.
    pub(crate) fn check_traffic(&self, traffic: &Traffic) {
        let of_registry = [traffic.client_to_upstream, traffic.upstream_to_client]
            .map(|direction| (direction.bytes, direction.frames));
        let mut state = self.lock();
        if state.reported != of_registry {
            let law = format!("traffic {of_registry:?}, reports {:?}", state.reported);
            state.broken.push(law);
        }
    }

    /// # Panics
    ///
    /// When a law was broken.
    pub(crate) fn judge(&self) -> Tally {
        let state = self.lock();
        assert!(state.broken.is_empty(), "{:#?}", state.broken);
        state.tally.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Ledger {
    fn handshake_failed(&self, request: &RequestInfo<'_>, error: &Error) {
        self.count(format_args!("failed: {}", error.kind().as_str()));
        // A name that is not resolved is the fault of its DNS.
        let is_blamed = error.side() == Side::Upstream && error.kind() != ErrorKind::Resolve;
        if self.judges_sound && is_blamed && request.upstream == Some(&*self.sound) {
            self.breach(format!("a handshake with the sound upstream: {error}"));
        }
    }

    fn handshake_rejected(&self, _: &RequestInfo<'_>, error: &Error) {
        self.count(format_args!("rejected: {}", error.kind().as_str()));
    }

    fn tunnel_opened(&self, tunnel: &TunnelInfo) {
        let mut state = self.lock();
        state.tally.count("tunnels");
        if !state.open.insert(tunnel.id) {
            let law = format!("tunnel {} was opened twice", tunnel.id);
            state.broken.push(law);
        }
    }

    fn tunnel_closed(&self, tunnel: &TunnelInfo, report: &TunnelReport) {
        let mut state = self.lock();
        state
            .tally
            .count(format_args!("end: {}", report.end.as_str()));
        if !state.open.remove(&tunnel.id) || !state.closed.insert(tunnel.id) {
            let law = format!("tunnel {} was reported without need", tunnel.id);
            state.broken.push(law);
        }
        if report.end == TunnelEnd::Dropped {
            let law = format!("tunnel {} was dropped", tunnel.id);
            state.broken.push(law);
        }
        for (sum, of_report) in state
            .reported
            .iter_mut()
            .zip([&report.client_to_upstream, &report.upstream_to_client])
        {
            sum.0 += of_report.bytes;
            sum.1 += of_report.frames.total();
        }
        let last = report.upstream_changes.last().map(|change| &change.to);
        let is_sound = **last.unwrap_or(&tunnel.upstream) == *self.sound;
        if self.judges_sound && is_sound && report.is_upstream_failure() {
            let law = format!("the sound upstream failed: {report:?}");
            state.broken.push(law);
        }
    }

    fn tunnel_reattached(&self, _: &TunnelInfo, change: &UpstreamChange) {
        self.count(format_args!("reattached: {}", change.loss.as_str()));
    }

    fn health_changed(&self, upstream: &UpstreamInfo<'_>, transition: &HealthTransition) {
        self.count(format_args!("health: {}", transition.as_str()));
        let is_unhealthy = matches!(transition, HealthTransition::Unhealthy { .. });
        if self.judges_sound && is_unhealthy && upstream.name == self.sound {
            self.breach(format!("the sound upstream: {transition}"));
        }
    }
}

impl Tally {
    pub(crate) fn count(&mut self, event: impl fmt::Display) {
        *self.0.entry(event.to_string()).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (event, count) in &other.0 {
            *self.0.entry(event.clone()).or_default() += count;
        }
    }

    /// # Panics
    ///
    /// When an event did not occur in any run, so that they prove nothing about it.
    pub(crate) fn assert_all_happened(&self) {
        const ENDS: [&str; 9] = [
            "broken",
            "closed",
            "closed_without_frame",
            "drained",
            "pong_timeout",
            "requested",
            "truncated_frame",
            "violation",
            "write_timeout",
        ];
        for end in ENDS {
            let event = format!("end: {end}");
            assert!(self.0.contains_key(&event), "never {event}: {self}");
        }
        for event in ["gaps between echoes", "health: unhealthy", "drains in time"] {
            assert!(self.0.contains_key(event), "never {event}: {self}");
        }
        assert!(self.0.keys().any(|event| event.starts_with("reattached")));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: Vec<_> = self.0.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let counts = counts
            .iter()
            .map(|(event, count)| format!("{event} {count}"));
        f.write_str(&counts.collect::<Vec<_>>().join(", "))
    }
}
