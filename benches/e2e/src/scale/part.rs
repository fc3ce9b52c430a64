//! The processes of a run, as they are named on the command line.

use super::{clients, proxy, upstreams};
use crate::{error::Result, heap};

/// One of the processes.
#[derive(clap::Subcommand)]
pub enum Part {
    Clients {
        #[arg(long)]
        threads: usize,
        #[arg(long)]
        proxies: usize,
        #[arg(long)]
        port: u16,
    },
    Proxy {
        #[arg(long)]
        threads: usize,
        #[arg(long)]
        port: u16,
        #[arg(long)]
        upstreams: usize,
        #[arg(long)]
        upstream_port: u16,
        /// Seconds between pings.
        #[arg(long)]
        ping_every: u64,
    },
    Upstreams {
        #[arg(long)]
        threads: usize,
        #[arg(long)]
        upstreams: usize,
        #[arg(long)]
        port: u16,
    },
}

impl Part {
    /// Serves until standard input ends.
    pub fn serve(self) -> Result<()> {
        match self {
            Self::Clients {
                threads,
                proxies,
                port,
            } => clients::serve(threads, proxies, port),
            Self::Upstreams {
                threads,
                upstreams,
                port,
            } => upstreams::serve(threads, upstreams, port),
            Self::Proxy {
                threads,
                port,
                upstreams,
                upstream_port,
                ping_every,
            } => {
                heap::start_counting();
                proxy::serve(threads, port, upstreams, upstream_port, ping_every)
            }
        }
    }
}
