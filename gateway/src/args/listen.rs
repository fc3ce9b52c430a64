//! Options of listening sockets.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use wsplice::headers::Networks;

use super::values;

/// Addresses to listen on, and the certificate for clients.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Listening")]
pub(crate) struct ListenArgs {
    /// Address and port to listen on, such as 0.0.0.0:80, or a port of
    /// 127.0.0.1 alone; port 0 is any. Sockets of socket activation
    /// (LISTEN_FDS) take its place
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:3000",
        value_parser = values::listen,
        verbatim_doc_comment
    )]
    pub(crate) listen: SocketAddr,

    /// Address and port to listen on for https:// and wss://, beside
    /// --listen; port 0 is any free one
    #[arg(
        long,
        value_name = "ADDR",
        value_parser = values::listen,
        requires_all = ["tls_cert", "tls_key"],
        verbatim_doc_comment
    )]
    pub(crate) tls_listen: Option<SocketAddr>,

    /// PEM file of the certificate for clients, and of those between it and
    /// its root. SIGHUP reads it and the key again
    #[arg(long, value_name = "FILE", requires = "tls_key", verbatim_doc_comment)]
    pub(crate) tls_cert: Option<PathBuf>,

    /// PEM file of the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Time for the head of a request, since the last response or the first
    /// byte of the connection, for which a client has as long
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::limit)]
    #[arg(verbatim_doc_comment)]
    pub(crate) header_timeout: Duration,

    /// Most connections at once for each listening address; further clients
    /// wait. A WebSocket over HTTP/1.1 counts only until it is open: see
    /// --max-tunnels [default: no limit]
    #[arg(long, value_name = "N", value_parser = values::at_least_one, verbatim_doc_comment)]
    pub(crate) max_connections: Option<NonZeroUsize>,

    /// Network of load balancers that send the client's address by the
    /// PROXY protocol, version 1 or 2, such as 10.0.0.0/8. Each connection
    /// from there must begin with the header; may be repeated
    #[arg(long, value_name = "CIDR", value_parser = values::trust, verbatim_doc_comment)]
    pub(crate) accept_proxy_protocol: Vec<Networks>,

    /// Worker threads. Each accepts connections and keeps them: nothing is
    /// locked or handed over, but a busy one gets no help from the others
    /// [default: one for each core]
    #[arg(long, value_name = "N", value_parser = values::at_least_one, verbatim_doc_comment)]
    pub(crate) threads: Option<NonZeroUsize>,
}
