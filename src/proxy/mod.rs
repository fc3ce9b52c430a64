//! The tower interface: a layer, a service, and their responses.
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
mod authorization_request;
mod body;
mod client;
mod event_reporter;
mod exchange_guard;
mod forward;
mod future;
mod guard;
mod handshake;
mod key_limit;
mod layer;
mod mounted;
mod opening;
mod options;
mod pipeline;
mod reconnect;
mod reject;
mod rejection;
mod request_scope;
mod restore;
mod running_session;
mod service;
mod session;
mod settings;
mod terminal;
mod trace;

pub use authorization_request::AuthorizationRequest;
pub use body::ResponseBody;
pub use future::ResponseFuture;
pub use guard::Admit;
pub use key_limit::KeyLimit;
pub use layer::ProxyLayer;
pub use options::{Deadline, RequestOptions};
pub use rejection::Rejection;
pub use request_scope::{RequestScope, WebSocketsOnly};
pub use service::Proxy;
pub use terminal::UpgradeRequired;
