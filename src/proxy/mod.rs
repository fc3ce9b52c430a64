//! The tower interface: a layer, a service, and their responses.
//!
//! | you want | take |
//! |---|---|
//! | to put the proxy around a service | [`ProxyLayer`](crate::ProxyLayer) |
//! | to name the service that it makes | [`Proxy`]; without a service inside: `Proxy<`[`UpgradeRequired`]`>` |
//! | to name its responses | [`ResponseBody`], [`ResponseFuture`] |
//! | to name a layer's scope | [`WebSocketsOnly`] or [`ForwardHttp`](crate::ForwardHttp), by the trait [`RequestScope`] |
//! | a time at which one request's tunnel is closed | [`Deadline`] |
//! | a tower layer of yours to decide on requests | [`Admit`], the service inside of a [guard](crate::ProxyLayer::guard) |
//!
//! ```text
//! ProxyLayer ──layer()──► Proxy<S> ──call()──► ResponseFuture
//!                            │                    ├─ response of S            (not owned)
//!                            │                    └─ pipeline: pick, connect, (owned)
//!                            ▼                       handshake, 101 ─► session ─► Tunnel
//!                     inspect, match
//! ```
//!
//! `pipeline` runs an owned request: `attempts` goes from one upstream to the next, `handshake` or
//! `forward` is the exchange with one of them, and `event_reporter` reports the results. `reject`
//! turns an [`Error`](crate::Error) into a response, and is the only place that chooses a status
//! code. `session` owns a tunnel up to the hand-over of the client's connection, `running_session`
//! from then on, `exchange_guard` an upstream's response for the time of its relay. `opening` is a client's handshake as it is made with upstreams, which
//! `reconnect` makes again when a running tunnel has lost its upstream.

mod attempt;
mod attempts;
mod authorization;
pub(crate) mod authorization_request;
mod body;
mod client;
mod event_reporter;
mod exchange_guard;
mod forward;
mod future;
mod guard;
mod handshake;
pub(crate) mod key_limit;
pub(crate) mod layer;
mod mounted;
mod opening;
pub(crate) mod options;
mod pipeline;
mod reconnect;
mod reject;
pub(crate) mod rejection;
mod request_scope;
mod restore;
mod running_session;
mod service;
mod session;
mod settings;
mod terminal;
mod trace;

pub use body::ResponseBody;
pub use future::ResponseFuture;
pub use guard::Admit;
pub use options::Deadline;
pub use request_scope::{RequestScope, WebSocketsOnly};
pub use service::Proxy;
pub use terminal::UpgradeRequired;
