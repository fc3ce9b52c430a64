//! Options of the admin listener.

use std::net::SocketAddr;

use clap::Args;

use super::values;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Admin")]
pub(crate) struct AdminArgs {
    /// Address and port of the admin listener, for the status page and
    /// /status.json, /metrics, /livez and /readyz: over plain HTTP, without
    /// authentication, so not for clients. A port of 127.0.0.1 alone, or
    /// port 0, will do
    /// [default: none; any free port of 127.0.0.1 in the demo]
    #[arg(
        long,
        value_name = "ADDR",
        value_parser = values::listen,
        verbatim_doc_comment
    )]
    pub(crate) admin: Option<SocketAddr>,

    /// Name by which the status page may be asked for, beside IP addresses
    /// and localhost; may be given several times
    #[arg(long, value_name = "NAME", verbatim_doc_comment)]
    pub(crate) admin_host: Vec<String>,

    /// Let every client of the status page drain upstreams and close
    /// WebSockets
    #[arg(long, verbatim_doc_comment)]
    pub(crate) admin_actions: bool,
}
