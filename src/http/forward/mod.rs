//! Forwarding of ordinary HTTP requests to the same upstreams.
//!
//! * `request` (pure) builds the request to the upstream, by the same rules as the handshake's;
//! * `upload` is the body of the client's request, with its progress;
//! * `connection` is one HTTP/1.1 connection to an upstream, `connection_task` drives it, and both share
//!   its `activity`; `idle_connections` keeps those that are idle; `defer_write_errors` lets an early
//!   response be read;
//! * `exchange` sends a request and waits for the head of the response;
//! * `download` is the body of the response;
//! * `reuse` returns the connection to the idle ones when the response has ended. If the response is
//!   dropped before, the connection is closed, so that the upstream stops sending.
//!
//! Bodies are streamed frame by frame, trailers included.

mod activity;
mod connection;
mod connection_task;
mod defer_write_errors;
mod download;
mod exchange;
mod idle_connections;
mod request;
mod reuse;
mod settings;
mod upload;

pub(crate) use connection::Http1Connection;
pub(crate) use download::DownloadBody;
pub(crate) use exchange::{SendFailure, send};
pub(crate) use idle_connections::IdleConnections;
pub(crate) use request::{BodyFraming, Hop, UpstreamHead, decrement_max_forwards, upstream_head};
pub(crate) use reuse::{ReuseTarget, keep_alive_timeout};
pub use settings::ForwardHttp;
pub(crate) use upload::{ClientBody, UploadProgress};
