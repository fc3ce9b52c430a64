//! Plain HTTP to the same upstreams: what a WebSocket application serves beside its sockets.
//!
//! * `request` (pure) makes the request that the upstream gets, `response` (pure) the answer that
//!   the client gets, by the same rules as the handshake's;
//! * `upload` is the client's body on its way up, and knows whom it waits for;
//! * `connection` is one HTTP/1.1 connection to an upstream, with the task that drives it, and
//!   `idle_connections` keeps those that are idle; `defer_write_errors` lets an early answer be heard;
//! * `exchange` sends a request and waits for the head of the answer;
//! * `download` is the answer's body on its way down. At its end the connection goes back to the
//!   idle ones; if it is dropped before, the connection is closed, and so the upstream learns that
//!   nobody waits any more.
//!
//! Bodies are passed on as they come, frame by frame, trailers included.

mod connection;
mod defer_write_errors;
mod download;
mod exchange;
mod idle_connections;
mod request;
mod response;
mod settings;
mod upload;

pub(crate) use connection::Connection;
pub(crate) use download::{DownloadBody, ReuseTarget};
pub(crate) use exchange::{SendFailure, send};
pub(crate) use idle_connections::IdleConnections;
pub(crate) use request::{BodyFraming, Hop, UpstreamHead, decrement_max_forwards, upstream_head};
pub(crate) use response::client_response;
pub use settings::ForwardHttp;
pub(crate) use upload::{ClientBody, UploadProgress};
