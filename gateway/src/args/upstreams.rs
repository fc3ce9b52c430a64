//! Options of upstreams: where they are, and how connections to them are opened.

use std::time::Duration;

use wsplice::Upstream;
use wsplice::connect::HttpVersion;
use wsplice::handshake::Leniency;

use crate::connect::ConnectArgs;
use crate::discovery::Source;
use crate::upstream_tls::UpstreamTlsArgs;

use super::values;

/// Upstreams, or the source to find them by.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Upstreams")]
pub(crate) struct UpstreamArgs {
    /// Where WebSockets go: ws://HOST:PORT, wss://HOST:PORT (http:// and
    /// https:// are the same) or unix:PATH; may be given several times
    /// [default: a built-in demo]
    #[arg(long, value_name = "URL", value_parser = Upstream::new, group = "upstreams")]
    #[arg(verbatim_doc_comment)]
    pub(crate) upstream: Vec<Upstream>,

    /// Find upstreams in DNS and follow changes: dns:NAME:PORT for the
    /// addresses of a name, srv:NAME for the SRV records of a service
    #[arg(long, value_name = "SOURCE", group = "upstreams")]
    #[arg(verbatim_doc_comment)]
    pub(crate) discover: Option<Source>,

    /// Version of HTTP to speak to upstreams: 1, 2 (which shares connections)
    /// or auto (2 with wss:// upstreams that agree to it)
    #[arg(long, value_name = "VERSION", default_value = "1")]
    #[arg(value_parser = values::http_version, verbatim_doc_comment)]
    pub(crate) upstream_http: HttpVersion,

    #[command(flatten)]
    pub(crate) tls: UpstreamTlsArgs,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,

    /// Time to connect to an upstream
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = values::limit)]
    pub(crate) connect_timeout: Duration,

    /// Time for the response to an opening handshake
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::limit)]
    pub(crate) handshake_timeout: Duration,

    /// Failures after which another upstream is tried, or off: connect,
    /// broken (at one more; a one-time ticket in a URL may be spent then),
    /// timeout, and statuses, separated by commas
    #[arg(long, value_name = "FAILURES", default_value = "connect,broken")]
    #[arg(verbatim_doc_comment)]
    pub(crate) retry_on: values::RetryConditions,

    /// Deviations from RFC 6455 that are tolerated, separated by commas:
    /// missing-connection (clients without `Connection: Upgrade`),
    /// unrequested-subprotocol (it is dropped), http10-acceptance (a 101 in
    /// HTTP/1.0) [default: none]
    #[arg(long, value_name = "DEVIATIONS", value_parser = values::leniency)]
    #[arg(verbatim_doc_comment)]
    pub(crate) tolerate: Option<Leniency>,
}
