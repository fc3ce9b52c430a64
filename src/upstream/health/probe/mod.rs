//! Probes: active health checks of an upstream.
//!
//! A probe opens a connection of its own, through the same connector as a client's handshake, and
//! reports the result. Its schedule and the consequences are decided elsewhere.

mod check;
mod expect;
mod failure;
mod frames;
mod from_fn;
mod http;
mod probe;
#[cfg(feature = "regex")]
mod regex;
mod request_settings;
mod target;
mod tcp;
mod websocket;

#[cfg(test)]
pub(crate) mod testing;

#[cfg(feature = "regex")]
pub use self::regex::InvalidExpectation;
pub use self::{
    check::check,
    failure::ProbeFailure,
    from_fn::{ProbeFn, probe_fn},
    http::HttpProbe,
    probe::{Probe, ProbeFuture},
    target::ProbeTarget,
    tcp::TcpProbe,
    websocket::WebSocketProbe,
};
