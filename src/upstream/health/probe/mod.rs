//! Probes: active health checks of an upstream.
//!
//! A probe opens a connection of its own, through the same connector as a client's handshake, and
//! reports the result. Its schedule and the consequences are decided elsewhere.

mod expect;
mod failure;
mod frames;
mod from_fn;
mod http;
#[cfg(feature = "regex")]
mod regex;
mod request;
mod run;
mod target;
mod tcp;
mod traits;
mod websocket;

#[cfg(test)]
pub(crate) mod testing;

#[cfg(feature = "regex")]
pub use self::regex::InvalidExpectation;
pub use self::{
    failure::ProbeFailure,
    from_fn::{ProbeFn, probe_fn},
    http::HttpProbe,
    run::check,
    target::ProbeTarget,
    tcp::TcpProbe,
    traits::{Probe, Probing},
    websocket::WebSocketProbe,
};
