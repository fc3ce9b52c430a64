//! Options of logs.

use crate::logging::LogFormat;

/// Format of the logs.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LoggingArgs {
    /// Format of the lines on standard error: text or json
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    #[arg(hide_possible_values = true)]
    pub(crate) log_format: LogFormat,
}
