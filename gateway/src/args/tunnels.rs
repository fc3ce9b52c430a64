//! Options of open WebSockets: keep-alive, timeouts and limits.

use std::time::Duration;

use wsplice::pool::OnUpstreamLoss;

use super::values::{self, DurationOrOff, Losses, SizeOrOff};

/// Keep-alive, timeouts and limits of tunnels.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Open WebSockets")]
pub(crate) struct TunnelArgs {
    /// Silence after which a side is pinged, or off. On unless turned off:
    /// many a hop on the way drops what is quiet for a minute
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "20s",
        verbatim_doc_comment
    )]
    pub(crate) keep_alive: DurationOrOff,

    /// Time for the pong of a pinged side
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::limit)]
    pub(crate) pong_timeout: Duration,

    /// Time without traffic that closes a WebSocket, or off; the gateway's
    /// own pings are no traffic
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "off",
        verbatim_doc_comment
    )]
    pub(crate) idle_timeout: DurationOrOff,

    /// Time for one side to finish after the other has
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(crate) half_close_timeout: Duration,

    /// Age that closes a WebSocket, less up to a tenth; or off
    #[arg(long, value_name = "DURATION", default_value = "off")]
    pub(crate) max_lifetime: DurationOrOff,

    /// Largest message that either side may send, or off
    #[arg(long, value_name = "SIZE", default_value = "off")]
    pub(crate) max_message: SizeOrOff,

    /// Time to find another upstream for a WebSocket that has lost its own,
    /// while the client's connection lives on; or off. Safe only where the
    /// application keeps no state in the connection
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "off",
        verbatim_doc_comment
    )]
    pub(crate) reattach: DurationOrOff,

    /// Losses after which another upstream is sought: lost (the connection
    /// ended or broke, or the upstream stopped answering), and close
    /// codes
    #[arg(
        long,
        value_name = "LOSSES",
        default_value = "lost,1012",
        verbatim_doc_comment
    )]
    pub(crate) reattach_on: Losses,

    /// Most reattachments of one WebSocket within a minute
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) reattach_limit: usize,

    /// Number of the client's first messages that each further upstream gets
    /// before anything else, a login for example. The upstreams may get them
    /// more than once
    #[arg(
        long,
        value_name = "N",
        default_value = "0",
        requires = "reattach",
        verbatim_doc_comment
    )]
    pub(crate) replay: usize,

    /// Number of each further upstream's first messages that are withheld
    /// from a client that has had as many: responses to --replay
    #[arg(
        long,
        value_name = "M",
        default_value = "0",
        requires = "reattach",
        verbatim_doc_comment
    )]
    pub(crate) swallow: usize,

    /// Time over which the WebSockets of an upstream that is removed, or
    /// drained by the status page, move to others, with --reattach. Those
    /// that cannot be moved are closed with 1012
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        verbatim_doc_comment,
        value_parser = values::duration
    )]
    pub(crate) move_spread: Duration,
}

impl TunnelArgs {
    /// Returns the fate of the tunnels of an upstream that is removed or drained.
    pub(crate) fn removed_tunnels(&self) -> OnUpstreamLoss {
        match self.reattach.limit() {
            Some(_) => OnUpstreamLoss::Move {
                spread: self.move_spread,
            },
            None => OnUpstreamLoss::Leave,
        }
    }
}
