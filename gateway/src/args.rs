//! The command line, in groups of options.

mod admin;
mod listen;
mod logging;
mod pool;
mod requests;
mod shutdown;
mod tunnels;
mod upstreams;
mod values;

use clap::Parser;

pub(crate) use admin::AdminArgs;
pub(crate) use listen::ListenArgs;
pub(crate) use logging::LoggingArgs;
pub(crate) use pool::PoolArgs;
pub(crate) use requests::RequestArgs;
pub(crate) use shutdown::ShutdownArgs;
pub(crate) use tunnels::TunnelArgs;
pub(crate) use upstreams::UpstreamArgs;
pub(crate) use values::DurationOrOff;

/// Serves a site, and proxies its WebSockets to the upstreams behind it
#[derive(Clone, Debug, Parser)]
#[command(
    name = "wsplice-gateway",
    version,
    next_line_help = true,
    after_help = "Durations take a number and a unit: 500ms, 3s, 1h 30m.\n\
        Sizes are in bytes; k or KiB stands for 1024 of them, m or MiB for 1024 KiB.\n\
        RUST_LOG sets the log level: warn, debug, info,wsplice=trace ... [default: info]"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) listen: ListenArgs,

    #[command(flatten)]
    pub(crate) requests: RequestArgs,

    #[command(flatten)]
    pub(crate) upstreams: UpstreamArgs,

    #[command(flatten)]
    pub(crate) pool: PoolArgs,

    #[command(flatten)]
    pub(crate) tunnels: TunnelArgs,

    #[command(flatten)]
    pub(crate) shutdown: ShutdownArgs,

    #[command(flatten)]
    pub(crate) admin: AdminArgs,

    #[command(flatten)]
    pub(crate) logging: LoggingArgs,
}

#[cfg(test)]
mod tests;
