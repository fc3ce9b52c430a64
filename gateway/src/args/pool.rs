//! Options of the pool: load balancing, limits and health checks.

use std::num::NonZeroUsize;
use std::time::Duration;

use wsplice::balance::Sticky;

use crate::balance::Policy;
use crate::probe::Probe;
use crate::sticky::sticky;

use super::values;

/// Load balancing, limits and health checks.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Load balancing and health checks")]
pub(crate) struct PoolArgs {
    /// Load-balancing policy: least-tunnels, latency, round-robin, random,
    /// first, ip-hash, path-hash, or the hash of a value in the request:
    /// header:NAME, query:NAME, cookie:NAME
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "least-tunnels",
        verbatim_doc_comment
    )]
    pub(crate) balance: Policy,

    /// Bring clients back to the upstream they had before, by a cookie of
    /// this name, which is valid until the gateway stops
    #[arg(long, value_name = "NAME", value_parser = sticky, verbatim_doc_comment)]
    pub(crate) sticky: Option<Sticky>,

    /// Limit of connections at once to one upstream [default: no limit]
    #[arg(long, value_name = "N", value_parser = values::at_least_one)]
    pub(crate) max_tunnels: Option<NonZeroUsize>,

    /// Health check: ws:PATH opens a WebSocket and pings, http:PATH wants a
    /// 2xx or 3xx response (the path may be left out), tcp a connection; with
    /// off, clients' handshakes show which are healthy
    #[arg(
        long,
        value_name = "PROBE",
        default_value = "off",
        verbatim_doc_comment
    )]
    pub(crate) probe: Probe,

    /// Time from one health check of an upstream to the next
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::limit)]
    pub(crate) probe_interval: Duration,
}
