//! WebSocket-aware reverse proxy as a tower layer.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
pub mod frame;
#[allow(dead_code, unused_imports)]
pub mod headers;
mod registry;
mod report;
mod transport;
mod tunnel;

pub use error::{BoxError, Error, ErrorKind, Side};
pub use registry::{LegStatus, Registry, TunnelInfo, TunnelStatus};
pub use report::{CloseSeen, FrameCounts, Limit, Passed, Rtt, Timer, TunnelEnd, TunnelReport};
pub use transport::{TcpKeepAlive, Transport};
pub use tunnel::*;
