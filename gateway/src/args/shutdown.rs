//! Options of the drain at Ctrl-C or SIGTERM.

use std::time::Duration;

use super::values;

/// Bounds of the drain.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Shutdown")]
pub(crate) struct ShutdownArgs {
    /// Time that connections get to close at Ctrl-C or SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = values::duration)]
    pub(crate) drain_timeout: Duration,

    /// Time over which these closes are spread, at most half of the drain
    /// timeout
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = values::duration)]
    #[arg(verbatim_doc_comment)]
    pub(crate) drain_spread: Duration,
}
