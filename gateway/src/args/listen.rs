//! What is said of TLS to clients on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::values;

/// A listener for TLS, and what it shows.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EdgeArgs {
    /// Address and port to listen on for https:// and wss://, beside
    /// --listen; port 0 is any
    #[arg(
        long,
        value_name = "ADDR",
        value_parser = values::listen,
        requires_all = ["tls_cert", "tls_key"],
        verbatim_doc_comment
    )]
    pub(crate) tls_listen: Option<SocketAddr>,

    /// PEM file of the certificate to show, and of those between it and its
    /// root. SIGHUP has it and the key read again
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_listen",
        verbatim_doc_comment
    )]
    pub(crate) tls_cert: Option<PathBuf>,

    /// PEM file of the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_listen")]
    pub(crate) tls_key: Option<PathBuf>,
}
