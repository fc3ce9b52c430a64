//! WebSocket-aware reverse proxy as a tower layer.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod drain;
mod error;
mod handshake;
mod observe;
mod pool;
mod proxy;
mod registry;
mod report;
mod task;
mod transport;
mod tunnel;
mod upstream;

pub mod balance;
pub mod connect;
pub mod frame;
pub mod head;
pub mod headers;
pub mod health;
pub mod matcher;
pub mod upgrade;

pub use drain::{Drain, Drained};
pub use error::{BoxError, Error, ErrorKind, Side};
pub use handshake::Disagreement;
pub use observe::{Handshake, Observer};
pub use pool::Pool;
pub use proxy::{Proxy, ProxyLayer, ResponseBody, ResponseFuture, UpgradeRequired};
pub use registry::{LegStatus, Registry, TunnelStatus};
pub use report::{
    CloseSeen, FrameCounts, Limit, Passed, Rtt, Timer, TunnelEnd, TunnelInfo, TunnelReport,
};
pub use transport::{TcpKeepAlive, Transport};
pub use tunnel::{Framing, KeepAlive, Limits, Tunnel, TunnelConfig};
pub use upstream::Upstream;
