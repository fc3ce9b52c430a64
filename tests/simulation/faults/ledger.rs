//! What the proxy reports, beside what the far ends have seen.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use http::StatusCode;
use tokio_tungstenite::tungstenite::{Error as ReadError, error::ProtocolError};
use wsplice::{
    Error, ErrorKind, Observer, TunnelInfo, TunnelReport,
    health::HealthTransition,
    observe::{RequestInfo, UpstreamInfo},
    tunnel::{Side, TunnelEnd, reattach::UpstreamChange, registry::Traffic},
};

use super::{
    message::Message,
    plan::{Habit, Plan},
    world::connection,
};

/// The ledger of one run.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Whether blame is judged.
    judges: bool,
    enforces: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The upstreams that have failed, or seemed to: by the will of an operator or the lies of DNS.
    faulty: HashSet<String>,
    /// The clients' connections, in the order of their numbers.
    connections: Vec<Connection>,
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

/// A client's connection: the truth, beside which its reports are put.
#[derive(Clone, Copy, Debug)]
struct Connection {
    habit: Habit,
    leaving: Leaving,
}

/// How a client has begun to leave its tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    No,
    /// By a close frame, after which it reads on to the end.
    Closes,
    /// It drops its connection, after an error.
    Drops,
}

/// Counts of what happened, of one run or of many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(BTreeMap<String, u64>);

impl Ledger {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            // After a jump of the clock any timer may have fired.
            judges: !plan.jumps(),
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

    /// Notes that an upstream may fail from now on.
    pub(crate) fn is_faulty_from_now_on(&self, upstream: String) {
        self.lock().faulty.insert(upstream);
    }

    /// A number for a client's next connection.
    pub(crate) fn next_connection(&self, habit: Habit) -> u16 {
        let leaving = Leaving::No;
        let mut state = self.lock();
        state.connections.push(Connection { habit, leaving });
        u16::try_from(state.connections.len()).expect("few connections")
    }

    /// Notes how the client of this connection leaves.
    pub(crate) fn leaves(&self, connection: u16, leaving: Leaving) {
        if let Some(it) = self.lock().connections.get_mut(usize::from(connection) - 1) {
            it.leaving = leaving;
        }
    }

    /// Tunnels that are open, by the observer's events.
    pub(crate) fn open(&self) -> HashSet<u64> {
        self.lock().open.clone()
    }

    /// How often an event has been counted.
    pub(crate) fn counted(&self, event: &str) -> u64 {
        self.lock().tally.0.get(event).copied().unwrap_or_default()
    }

    /// Number of tunnels that have ended.
    pub(crate) fn ended(&self) -> usize {
        self.lock().closed.len()
    }

    /// Whether a leg of this tunnel may have to be cut off: its client misbehaves, or its upstream may
    /// have failed.
    pub(crate) fn may_be_cut(&self, tunnel: &TunnelInfo) -> bool {
        let state = self.lock();
        let behaves = state.connection(tunnel).habit == Habit::Behaves;
        !behaves || state.faulty.contains(&*tunnel.upstream)
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

impl State {
    fn connection(&self, tunnel: &TunnelInfo) -> Connection {
        self.connections[usize::from(connection(tunnel)) - 1]
    }

    /// Checks that none is blamed who behaved.
    fn judge_blame(&mut self, tunnel: &TunnelInfo, report: &TunnelReport) {
        let client = self.connection(tunnel);
        let last = report.upstream_changes.last().map(|change| &change.to);
        let upstream = last.unwrap_or(&tunnel.upstream);
        let is_of = |side| match report.end {
            TunnelEnd::Timeout(_, of) | TunnelEnd::Violation(_, of) | TunnelEnd::Limit(_, of) => {
                of == side
            }
            _ => report.end.failed_side() == Some(side),
        };
        let mut blames = |who: &str| {
            let law = format!("{who} is blamed: {client:?}, {tunnel:?}, {report:?}");
            self.broken.push(law);
        };
        if client.habit == Habit::Behaves && client.leaving != Leaving::Drops {
            if is_of(Side::Client) {
                blames("a client that behaves");
            }
            if report.initiator == Side::Client && client.leaving == Leaving::No {
                blames("a client that has not left");
            }
        }
        if !self.faulty.contains(&**upstream) {
            // A client's breach of the protocol is passed on, unless the proxy enforces it.
            let may_close = client.habit == Habit::Violates;
            let is_initiator = report.initiator == Side::Upstream && !may_close;
            if is_initiator || report.is_upstream_failure() {
                blames("a faultless upstream");
            }
        }
    }
}

impl Observer for Ledger {
    fn handshake_accepted(&self, _: &RequestInfo<'_>) {
        self.count("accepted");
    }

    fn handshake_retried(&self, _: &RequestInfo<'_>, _: usize) {
        self.count("retried");
    }

    fn handshake_refused(&self, _: &RequestInfo<'_>, _: StatusCode) {
        self.count("refused");
    }

    fn handshake_failed(&self, request: &RequestInfo<'_>, error: &Error) {
        self.count(format_args!("failed: {}", error.kind().as_str()));
        // A name that is not resolved is the fault of its DNS.
        let is_blamed = error.side() == Side::Upstream && error.kind() != ErrorKind::Resolve;
        let is_faultless = |upstream| !self.lock().faulty.contains(upstream);
        if self.judges && is_blamed && request.upstream.is_some_and(is_faultless) {
            let law = format!("a handshake with a faultless upstream: {error}, {request:?}");
            self.breach(law);
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
        if self.judges {
            state.judge_blame(tunnel, report);
        }
    }

    fn tunnel_reattached(&self, _: &TunnelInfo, change: &UpstreamChange) {
        self.count(format_args!("reattached: {}", change.loss.as_str()));
    }

    fn health_changed(&self, upstream: &UpstreamInfo<'_>, transition: &HealthTransition) {
        self.count(format_args!("health: {}", transition.as_str()));
        let is_unhealthy = matches!(transition, HealthTransition::Unhealthy { .. });
        let is_faultless = !self.lock().faulty.contains(upstream.name);
        if self.judges && is_unhealthy && is_faultless {
            let law = format!("the faultless upstream {}: {transition}", upstream.name);
            self.breach(law);
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
    /// When an event did not occur in any of these runs, so that they prove nothing about it.
    pub(crate) fn assert_all_happened(&self, runs: u64) {
        const ENDS: [&str; 8] = [
            "broken",
            "closed",
            "closed_without_frame",
            "drained",
            "pong_timeout",
            "requested",
            "truncated_frame",
            "violation",
        ];
        /// Ends of one tunnel in some thousands.
        const RARE: [&str; 3] = [
            "close_handshake_timeout",
            "half_close_timeout",
            "write_timeout",
        ];
        let rare: &[&str] = if runs >= 600 { &RARE } else { &[] };
        for end in ENDS.iter().chain(rare) {
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
