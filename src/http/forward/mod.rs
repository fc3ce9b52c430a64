//! Plain HTTP to the same upstreams: what a WebSocket application serves beside its sockets.
//!
//! * `request` (pure) makes the request that the upstream gets, `answer` (pure) the answer that
//!   the client gets, by the same rules as the handshake's;
//! * `upload` is the client's body on its way up, and knows whom it waits for;
//! * `connection` is one HTTP/1.1 connection to an upstream, with the task that drives it, and
//!   `connections` keeps those that are idle; `patient` lets an early answer be heard;
//! * `exchange` sends a request and waits for the head of the answer;
//! * `download` is the answer's body on its way down. At its end the connection goes back to the
//!   idle ones; if it is dropped before, the connection is closed, and so the upstream learns that
//!   nobody waits any more.
//!
//! Bodies are passed on as they come, frame by frame, trailers included.

mod answer;
mod connection;
mod connections;
mod download;
mod exchange;
mod patient;
mod request;
mod settings;
mod upload;

pub(crate) use answer::answered;
pub(crate) use connection::Connection;
pub(crate) use connections::Connections;
pub(crate) use download::{Download, WayBack};
pub(crate) use exchange::{Failure, send};
pub(crate) use request::{Head, Hop, Measure, count_hop, request_head};
pub use settings::ForwardHttp;
pub(crate) use upload::{ClientBody, Upload};
