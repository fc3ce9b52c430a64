//! The tower face: a layer, a service, and what they answer.
//!
//! ```text
//! ProxyLayer ──layer()──► Proxy<S> ──call()──► ResponseFuture
//!                            │                    ├─ what S answers           (not ours)
//!                            │                    └─ pipeline: pick, connect, (ours)
//!                            ▼                       handshake, 101 ─► session ─► Tunnel
//!                     inspect, match
//! ```
//!
//! `attempts` goes from one upstream to the next, `handshake` is what one of them is asked, and `event_reporter`
//! tells what came of it. `reject` turns an [`Error`](crate::Error) into a response, and is the
//! only place that names a status code of ours. `session` owns a tunnel for its whole life.

mod attempt;
mod attempts;
mod body;
mod event_reporter;
mod forward;
mod future;
mod handshake;
mod layer;
mod pipeline;
mod reject;
mod relayed_body;
mod request_scope;
mod service;
mod session;
mod settings;
mod terminal;

pub use body::ResponseBody;
pub use future::ResponseFuture;
pub use layer::ProxyLayer;
pub use request_scope::{RequestScope, WebSocketsOnly};
pub use service::Proxy;
pub use terminal::UpgradeRequired;
