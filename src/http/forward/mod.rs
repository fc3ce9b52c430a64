//! Forwarding of ordinary HTTP requests to the same upstreams.
//!
//! * `request` (pure) builds the request to the upstream, `response` (pure) the response to the
//!   client, by the same rules as the handshake's;
//! * `upload` is the body of the client's request, with its progress;
//! * `connection` is one HTTP/1.1 connection to an upstream, with the task that drives it, and
//!   `idle_connections` keeps those that are idle; `defer_write_errors` lets an early response be
//!   read;
//! * `exchange` sends a request and waits for the head of the response;
//! * `download` is the body of the response. At its end the connection returns to the idle ones; if
//!   it is dropped before, the connection is closed, so that the upstream stops sending.
//!
//! Bodies are streamed frame by frame, trailers included.

mod client_response;
mod connection;
mod defer_write_errors;
mod download;
mod exchange;
mod idle_connections;
mod request;
mod settings;
mod upload;

pub(crate) use client_response::client_response;
pub(crate) use connection::Http1Connection;
pub(crate) use download::{DownloadBody, ReuseTarget};
pub(crate) use exchange::{SendFailure, send};
pub(crate) use idle_connections::IdleConnections;
pub(crate) use request::{BodyFraming, Hop, UpstreamHead, decrement_max_forwards, upstream_head};
pub use settings::ForwardHttp;
pub(crate) use upload::{ClientBody, UploadProgress};
