//! A WebSocket-aware reverse proxy as a [tower] layer.
//!
//! Put [`ProxyLayer`] around a service (an axum `Router`, or anything that hyper serves): the
//! WebSocket handshakes that its matcher owns go to an upstream, everything else goes to the
//! service as before. Once both sides agree, bytes are spliced through unchanged. Frame headers are
//! followed on the way, payloads are never decoded: enough to ping both legs, to close them with
//! the right code, and to distinguish a dead peer from a quiet one.
//!
//! ```text
//! request ─► inspect ─► match ─► pick ─► connect ─► handshake ─► tunnel
//!           WebSocket  owned    an       TCP, TLS, both sides    bytes both
//!           upgrade?   route?   upstream Unix      agree (101)   ways, pings
//!             │          │        │        │           │         and closes
//!             ▼          ▼        ▼        ▼           ▼         between
//!           inner      inner    503      502/504   upstream's    frames
//!           service    service                     own refusal
//! ```
//!
//! # Example
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use wsplice::{KeepAlive, Pool, ProxyLayer, matcher::path};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let chat = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?;
//! let proxy = ProxyLayer::new(chat)
//!     .matching(path("/ws/*"))
//!     .keep_alive(KeepAlive::default());
//! let drain = proxy.drain();
//!
//! let app = Router::new().route("/", get(|| async { "hello" })).layer(proxy);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! // Ctrl-C alone; a service must wait for SIGTERM as well, as the example of `Drain` does.
//! axum::serve(listener, app)
//!     .with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) })
//!     .await?;
//! drain.run().await;
//! # Ok(())
//! # }
//! ```
//!
//! Without an inner service, [`ProxyLayer::into_service`] responds to all other requests with 426,
//! to handshakes that the matcher does not own with 404, and to extended `CONNECT`s for other
//! protocols with 501.
//! Hosts that perform the handshakes themselves can use a [`Tunnel`] alone.
//!
//! # Responses
//!
//! | request | response |
//! |---|---|
//! | not a WebSocket handshake, or not owned by the matcher | the inner service's; with [`ProxyLayer::forward_http`] the upstream's, if owned |
//! | owned, but malformed (RFC 6455 §4.2.1, RFC 9112 §3.2) | 400, 405 or 426, with the reason |
//! | its `Origin` is not allowed ([`ProxyLayer::allow_origins`]) | 403 |
//! | the host rejects it ([`ProxyLayer::authorize`]) | the host's own; 503 after the authorization timeout, 500 after a panic |
//! | its key has reached a limit ([`ProxyLayer::limit_by_key`]) | 429 with `Retry-After` |
//! | the upstream refuses | the upstream's own response, with its body; over HTTP/2 a 2xx becomes 502 |
//! | no upstream that may be used, a limit reached, or draining | 503 with `Retry-After` |
//! | no connection, or a response that breaks the handshake | 502 |
//! | connecting or responding takes too long | 504 |
//! | the client's body stops or breaks off while its request is forwarded | 408, 400 |
//! | the host's server cannot hand over the connection | 500 |
//! | both agree | 101 (200 over HTTP/2), and a tunnel |
//!
//! Rejections carry a typed [`Error`] in their extensions;
//! [`ProxyLayer::map_rejection`] restyles them.
//!
//! # What to take
//!
//! What most programs name is here at the root. Each module has the rest of its subject, and begins
//! with a table like this one.
//!
//! | you want | take |
//! |---|---|
//! | a proxy around a service | [`ProxyLayer`]; its service and responses are in [`proxy`] |
//! | to say which requests are the proxy's | [`matcher`]; what they match on is in [`head`] |
//! | upstreams | [`Pool`] of [`Upstream`]s; their settings and figures are in [`pool`], their sources in [`discovery`] |
//! | health checks | [`health`] |
//! | load balancing, sticky clients | [`balance`] |
//! | limits | [`Admission`] for tunnels and handshakes, [`KeyLimit`] by client or user, [`Limits`] within a tunnel |
//! | another upstream after a failure | [`Retry`] |
//! | keep-alive, timeouts | [`KeepAlive`], [`TunnelConfig`] |
//! | authorization, settings for one request | [`AuthorizationRequest`], [`RequestOptions`], [`Rejection`] |
//! | headers added, changed and removed; the client's address | [`headers`] |
//! | plain HTTP to the same upstreams | [`ForwardHttp`] |
//! | TLS, Unix sockets, HTTP/2 or transports of yours to upstreams | [`connect`] |
//! | graceful shutdown | [`Drain`] |
//! | to list and close open tunnels | [`Registry`], with [`TunnelInfo`] about each |
//! | events, metrics | [`Observer`]; its arguments are in [`observe`]. Metrics are in the package `wsplice-prometheus`, a status page in `wsplice-status` |
//! | to know how a tunnel ended | [`TunnelReport`]; its parts are in [`tunnel`] |
//! | tunnels that outlive their upstream | [`tunnel::reattach`] |
//! | why a request failed | [`Error`], [`ErrorKind`] |
//! | an accept loop of your own, a server other than hyper | [`accept`] |
//! | a tunnel without the proxy | [`tunnel`], [`handshake`] |
//! | WebSocket frames | [`frame`] |
//! | to test policies of yours | `testing` (feature `test-util`) |
//!
//! # Errors
//!
//! `Display` of every error type prints the error's own sentence, and its cause, if it has one, is
//! its [source](std::error::Error::source), so that reporters print each cause once. The alternate
//! form, `{error:#}`, prints the whole chain in one line.
//!
//! # Slugs
//!
//! Everything that can be the label of a metric or the field of a log has a name for machines beside
//! its prose: `as_str()` returns it in snake_case. Slugs are part of the interface, so dashboards can
//! rely on them: they are unique within their type and change with a major version only.
//!
//! [`ErrorKind`], [`Side`], [`TunnelEnd`], [`tunnel::Timer`], [`tunnel::Limit`],
//! [`tunnel::reattach::Loss`], [`tunnel::reattach::ReattachRefusal`], [`observe::MembershipChange`],
//! [`frame::CloseCode`], [`frame::OpCode`], [`frame::Violation`], [`health::HealthState`],
//! [`health::HealthTransition`], [`health::HealthEventKind`], [`health::probe::ProbeFailure`],
//! [`discovery::DiscoverError`]
//!
//! # Features
//!
//! None is on by default, and each only adds.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | the client's address is taken from axum's `ConnectInfo<SocketAddr>`, the path before `nest` from its `OriginalUri` |
//! | `http2` | WebSockets over HTTP/2 (RFC 8441): from clients, and to upstreams that are [set to it](Upstream::http_version) |
//! | `dns` | `discovery::Dns`: upstreams by A, AAAA or SRV records; needs Rust 1.88 |
//! | `regex` | `matcher::path_regex`, and expressions for the expected responses of probes |
//! | `sticky` | `balance::Sticky` |
//! | `test-util` | `testing`: tools for the tests of your own policies |
//! | `rustls` | TLS to upstreams, with your own rustls configuration: `connect::Tls` |
//! | `ring`, `aws-lc-rs` | the same, with this cryptography: `connect::TlsBuilder` |
//! | `tls12` | TLS 1.2 beside 1.3 |
//! | `webpki-roots` | certificates are checked against Mozilla's roots, compiled in |
//! | `rustls-native-certs` | certificates are checked against the system's files |
//! | `rustls-platform-verifier` | certificates are checked by the platform |
//!
//! axum's `ConnectInfo` does not contain the scheme: behind a listener with TLS, set
//! [`ProxyLayer::client_scheme`], or upstreams get `X-Forwarded-Proto: http`.
//!
//! Without `axum`, put a [`ClientInfo`](headers::ClientInfo) into the request's extensions, or set
//! [`ProxyLayer::client_info`]; an unknown address is never made up.
//!
//! # Logs and traces
//!
//! Logs go through `tracing`. They never contain a key, cookie, query or payload; they do contain
//! paths and clients' addresses.
//!
//! | level | events |
//! |---|---|
//! | `error` | a panic in code of the host |
//! | `warn` | an upstream's health changed, discovery fails; once, that a limit by address met a client without one |
//! | `info` | one line for each handshake or forwarded request, one for each tunnel's end; upstreams that come and go |
//! | `debug` | each attempt at an upstream, retries, clients that were lost before their tunnel |
//!
//! Each handshake has a span, `websocket_handshake` or the one of [`ProxyLayer::make_span`], each
//! forwarded request the span `http_request`. The end of a tunnel, hours later perhaps, is an event
//! without a span, and has the number of the tunnel in common with the handshake's. Fields are named
//! by OpenTelemetry's conventions where there are some:
//!
//! | field | of | value |
//! |---|---|---|
//! | `http.request.method`, `url.path`, `network.protocol.version` | span | the client's request |
//! | `client.address` | span, end | the client's IP address, if known; in the span behind trusted proxies |
//! | `server.address`, `server.port` | span | the upstream that was tried last |
//! | `http.response.status_code` | span | the status that the client gets: 101, or over HTTP/2 200, if the handshake is accepted |
//! | `error.type` | span, end | [`ErrorKind`] or [`TunnelEnd`], as a [slug](#slugs), if it is a failure |
//! | `error.message` | handshake, request | the error with its causes |
//! | `wsplice.tunnel.id` | span, end | the tunnel's number |
//! | `wsplice.tunnel.key`, `wsplice.tunnel.label` | end | [`RequestOptions::key`] and [`label`](RequestOptions::label), if set |
//! | `wsplice.upstream` | end | the upstream's name in the pool |
//! | `wsplice.end`, `wsplice.initiator` | end | [`TunnelEnd`] and [`Side`] as slugs |
//! | `wsplice.end.reason` | end | [`TunnelEnd`] as a sentence |
//! | `wsplice.close_code` | end | [`TunnelReport::close_code`] |
//! | `wsplice.bytes.client_to_upstream`, `wsplice.bytes.upstream_to_client` | end | forwarded bytes |
//! | `wsplice.duration` | handshake, request, end | seconds |
//!
//! [tower]: https://docs.rs/tower
//! [`Side`]: tunnel::Side
//! [`Tunnel`]: tunnel::Tunnel
//! [`TunnelEnd`]: tunnel::TunnelEnd
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod alarm;
mod error;
mod escaped;
mod hash;
mod http;
mod instant;
mod lock;
mod net;
mod slots;
#[cfg(test)]
mod slugs;
mod task;
mod token_bucket;
mod upstream;

pub mod accept;
pub mod frame;
pub mod observe;
pub mod pool;
pub mod proxy;
#[cfg(feature = "test-util")]
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
pub mod testing;
pub mod tunnel;

pub use self::http::{forward::ForwardHttp, handshake, head, headers, matcher};
pub use error::{Error, ErrorKind};
pub use net::connect;
pub use observe::observer::Observer;
pub use pool::handle::Pool;
pub use proxy::{
    authorization_request::AuthorizationRequest, key_limit::KeyLimit, layer::ProxyLayer,
    options::RequestOptions, rejection::Rejection,
};
pub use tunnel::{
    config::TunnelConfig, drain::Drain, info::TunnelInfo, keep_alive::KeepAlive, limits::Limits,
    registry::registry::Registry, report::TunnelReport,
};
pub use upstream::{Upstream, admission::Admission, balance, discovery, health, retry::Retry};

/// Compiles the examples of the README, among them one with TLS.
#[cfg(all(doctest, feature = "ring"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// Declares an item with a guide as its documentation, so that the guide's examples are compiled and
/// run with the documentation tests. The quick start is compiled in `wsplice-prometheus`, because it
/// uses that package.
#[cfg(doctest)]
macro_rules! guide {
    ($name:ident, $page:literal) => {
        #[doc = include_str!($page)]
        struct $name;
    };
}

#[cfg(doctest)]
guide!(AuthenticationGuide, "../docs/authentication.md");
#[cfg(doctest)]
guide!(ConceptsGuide, "../docs/concepts.md");
#[cfg(doctest)]
guide!(DeploysGuide, "../docs/deploys.md");
#[cfg(all(doctest, feature = "dns", feature = "rustls"))]
guide!(DiscoveryGuide, "../docs/discovery.md");
#[cfg(doctest)]
guide!(FaqGuide, "../docs/faq.md");
#[cfg(doctest)]
guide!(
    FromAxumReverseProxyGuide,
    "../docs/from-axum-reverse-proxy.md"
);
#[cfg(doctest)]
guide!(FromCaddyGuide, "../docs/from-caddy.md");
#[cfg(doctest)]
guide!(FromHaproxyGuide, "../docs/from-haproxy.md");
#[cfg(doctest)]
guide!(FromNginxGuide, "../docs/from-nginx.md");
#[cfg(doctest)]
guide!(HealthGuide, "../docs/health.md");
#[cfg(doctest)]
guide!(Http2Guide, "../docs/http2.md");
#[cfg(doctest)]
guide!(LoadBalancersGuide, "../docs/load-balancers.md");
#[cfg(doctest)]
guide!(ReattachGuide, "../docs/reattach.md");
#[cfg(doctest)]
guide!(ResumeGuide, "../docs/resume.md");
#[cfg(all(doctest, feature = "dns"))]
guide!(ScalingGuide, "../docs/scaling.md");
#[cfg(doctest)]
guide!(SecurityChecklist, "../docs/security-checklist.md");
#[cfg(doctest)]
guide!(TimeoutsGuide, "../docs/timeouts.md");
#[cfg(all(doctest, feature = "ring"))]
guide!(TlsGuide, "../docs/tls.md");
