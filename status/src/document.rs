//! The JSON document: what the page shows, for programs.
//!
//! Durations are seconds, as decimal fractions; times are ages, in seconds before the document was
//! made. Fields may be added in later versions, none is renamed or removed within a version.

use serde::Serialize;

/// The whole document.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Document {
    /// Version of this format: 1.
    pub version: u32,
    /// Whether new tunnels are being refused, because a drain is going on.
    pub draining: bool,
    /// The pools, in the order in which the host added them.
    pub pools: Vec<PoolRow>,
    /// Open tunnels.
    pub tunnels: Tunnels,
    /// How tunnels ended.
    pub ends: Ends,
    /// Changes of open tunnels' upstreams.
    pub reattachments: Reattachments,
}

/// Changes of open tunnels' upstreams, whose clients stayed, as far as the observer has seen them.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Reattachments {
    /// Tunnels that got another upstream after they had lost their own.
    pub reattached: u64,
    /// Tunnels that were moved to another upstream.
    pub moved: u64,
    /// Losses and moves after which a tunnel did not get another upstream.
    pub failed: u64,
}

/// A pool.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PoolRow {
    /// Name that the host gave to the pool.
    pub name: String,
    /// Its upstreams, in the pool's order.
    pub upstreams: Vec<UpstreamRow>,
    /// Retries at another upstream since the pool was created.
    pub retries: u64,
    /// Retries that the retry budget has denied since then.
    pub retries_denied: u64,
    /// Number of handshakes that wait in the queue for an upstream.
    pub waiting: usize,
}

/// An upstream.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct UpstreamRow {
    /// Name of the upstream.
    pub name: String,
    /// Health state: `healthy`, `half_open` or `unhealthy`.
    pub state: &'static str,
    /// Time since the state began.
    pub since_seconds: f64,
    /// Cause of an unhealthy state.
    pub cause: Option<String>,
    /// Time until the ejection ends, if a time ends it.
    pub ejected_for_seconds: Option<f64>,
    /// Whether the upstream may get new tunnels.
    pub used: bool,
    /// Who decides about the health: `auto`, or the operator by `forced_healthy` and
    /// `forced_unhealthy`.
    pub control: &'static str,
    /// Whether the upstream has failed clients lately, and others are preferred.
    pub doubted: bool,
    /// Time since its drain began, if it is being drained.
    pub draining_seconds: Option<f64>,
    /// Weight in the load balancing.
    pub weight: u32,
    /// Open tunnels, handshakes and forwarded requests under way.
    pub tunnels: usize,
    /// Handshakes under way.
    pub handshakes: usize,
    /// Smoothed duration of handshakes with the upstream, and of pings to it.
    pub latency_seconds: Option<f64>,
    /// The last probe.
    pub last_probe: Option<ProbeRow>,
    /// Counts since the upstream joined the pool.
    pub counters: CountersRow,
    /// Counts of the tunnels that went from the upstream to another one.
    pub changes: ChangesRow,
}

/// Counts of the tunnels that went from an upstream to another one, while their clients stayed, as far
/// as the observer has seen them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ChangesRow {
    /// Tunnels that had lost the upstream.
    pub reattached: u64,
    /// Tunnels that were moved.
    pub moved: u64,
}

/// Counts of an upstream since it joined the pool.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CountersRow {
    /// Attempts of clients: handshakes and forwarded requests for which the upstream was picked.
    pub attempts: u64,
    /// Attempts of those that were made after another upstream had failed.
    pub retries: u64,
    /// Attempts that failed because of the upstream.
    pub failed: u64,
    /// Attempts that failed, by kind, with the kinds that have occurred.
    pub failures: Vec<FailureRow>,
    /// Handshakes that the upstream refused, and responses with a status of 500 or above.
    pub refusals: u64,
    /// Tunnels that were opened.
    pub tunnels_opened: u64,
    /// Times that the upstream became unhealthy.
    pub ejections: u64,
}

/// Number of attempts that failed in one way.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FailureRow {
    /// The failure as a slug of `wsplice::ErrorKind`, such as `connect_timeout`.
    pub kind: &'static str,
    /// Number of attempts.
    pub count: u64,
}

/// A probe of an upstream.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ProbeRow {
    /// Whether the probe passed.
    pub passed: bool,
    /// Time since its result.
    pub age_seconds: f64,
    /// Duration of a probe that passed.
    pub duration_seconds: Option<f64>,
    /// Reason of a failure.
    pub failure: Option<String>,
}

/// Open tunnels, the newest first.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Tunnels {
    /// Number of open tunnels.
    pub open: usize,
    /// Number of those that the search found; all without a search.
    pub found: usize,
    /// The text that was searched for.
    pub search: Option<String>,
    /// The newest tunnels that were found, 200 at most.
    pub rows: Vec<TunnelRow>,
}

/// An open tunnel.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TunnelRow {
    /// Place of the tunnel's registry in the order in which the host added them, from 0.
    pub registry: usize,
    /// Number of the tunnel.
    pub id: u64,
    /// Address of the client's connection, if it is known.
    pub client: Option<String>,
    /// Name of the upstream.
    pub upstream: String,
    /// Path of the request, without its query.
    pub path: String,
    /// Key that the host gave the tunnel: a user, a tenant.
    pub key: Option<String>,
    /// Label that the host gave the tunnel.
    pub label: Option<String>,
    /// Time since the tunnel was opened.
    pub age_seconds: f64,
    /// What came from the client.
    pub from_client: LegRow,
    /// What came from the upstream.
    pub from_upstream: LegRow,
}

/// One leg of a tunnel.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LegRow {
    /// Bytes that came from this leg and were forwarded.
    pub bytes: u64,
    /// Frames that came from this leg.
    pub frames: u64,
    /// Time since the last byte from this leg.
    pub quiet_seconds: f64,
    /// The newest round trip of a ping of the proxy on this leg.
    pub rtt_seconds: Option<f64>,
}

/// How tunnels ended, as far as the observer has seen it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Ends {
    /// Number of tunnels by the cause of their end, the most frequent first.
    pub counts: Vec<EndCount>,
    /// The last tunnels that ended, the newest first, 50 at most.
    pub recent: Vec<EndRow>,
}

/// Number of tunnels that ended for one cause.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct EndCount {
    /// The cause, as a sentence.
    pub cause: String,
    /// Number of tunnels.
    pub count: u64,
}

/// A tunnel that has ended.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct EndRow {
    /// Number that the tunnel had.
    pub id: u64,
    /// Address of the client's connection, if it was known.
    pub client: Option<String>,
    /// Name of the upstream.
    pub upstream: String,
    /// Path of the request, without its query.
    pub path: String,
    /// Cause of the end, as a sentence.
    pub cause: String,
    /// The side that began the end: `client`, `upstream` or `proxy`.
    pub initiator: String,
    /// Code of the close frame that the client sent.
    pub client_code: Option<u16>,
    /// Code of the close frame that the upstream sent.
    pub upstream_code: Option<u16>,
    /// Lifetime of the tunnel.
    pub duration_seconds: f64,
    /// Time since the end.
    pub age_seconds: f64,
}
