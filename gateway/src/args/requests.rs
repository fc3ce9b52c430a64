//! Options of requests: which are proxied, and with which headers.

use std::path::PathBuf;

use wsplice::headers::{Networks, Via};

use super::values::{self, DurationOrOff};

/// Routes, the site beside them, and headers.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Requests")]
pub(crate) struct RequestArgs {
    /// Paths that are proxied; may be given several times
    #[arg(long, value_name = "PATTERN", default_value = "/ws/*", value_parser = values::route)]
    pub(crate) route: Vec<String>,

    /// Proxy plain HTTP requests on those paths too: what Socket.IO, SignalR,
    /// Jupyter or Vite send beside their WebSockets
    #[arg(long, verbatim_doc_comment)]
    pub(crate) forward_http: bool,

    /// Longest time for a proxied plain request and its response together, or
    /// off: a client that sends a byte now and then, or takes one, would
    /// hold a place at its upstream for ever
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "off",
        verbatim_doc_comment
    )]
    pub(crate) exchange_timeout: DurationOrOff,

    /// Directory to serve everything else from [default: a built-in page]
    #[arg(long = "static", value_name = "DIR", value_parser = values::directory)]
    pub(crate) static_dir: Option<PathBuf>,

    /// Proxies whose X-Forwarded-* headers are believed: an address or a
    /// range, such as 10.0.0.0/8; may be given several times [default: none]
    #[arg(long, value_name = "CIDR", value_parser = values::trust, verbatim_doc_comment)]
    pub(crate) trust: Vec<Networks>,

    /// Name to put into Via headers, beside the version of HTTP that came in
    /// [default: no such header]
    #[arg(long, value_name = "NAME", value_parser = values::via)]
    #[arg(verbatim_doc_comment)]
    pub(crate) via: Option<Via>,
}
