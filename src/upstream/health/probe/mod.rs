//! Probes: active health checks of an upstream.
//!
//! A probe opens a connection of its own, through the same connector as a client's handshake, and
//! reports the result, at the times of its [`ProbeSchedule`]. The consequences are decided by the
//! [health policy](super::HealthPolicy). [`PoolBuilder::probe`](crate::pool::PoolBuilder::probe) sets the
//! probe of a pool.
//!
//! | probe | passes if the upstream | Envoy | HAProxy |
//! |---|---|---|---|
//! | [`WebSocketProbe`] | accepts a handshake, and answers a ping | | |
//! | [`HttpProbe`] | responds with an expected status or body | `http_health_check` | `option httpchk` |
//! | [`TcpProbe`] | accepts a connection | `tcp_health_check` | `check` |
//! | [`probe_fn`] | does what a function of the host expects | | `external-check` |
//!
//! | you want | take |
//! |---|---|
//! | to check a reply that differs from time to time | `expect_text_match` and `expect_body_match` (feature `regex`) |
//! | a probe of your own to reach another port | [`ProbeTarget::connect_to`] |
//! | to store a probe of a closure, or write one as a type | [`ProbeFn`]; [`Probe`], with its [`ProbeFuture`] |
//! | the reason why a probe failed | [`ProbeFailure`] |

#[cfg_attr(not(feature = "test-util"), allow(unreachable_pub))]
pub(crate) mod check;
mod expect;
mod failure;
mod frames;
mod from_fn;
mod http;
mod probe_trait;
#[cfg(feature = "regex")]
mod regex;
mod request_settings;
mod schedule;
mod target;
mod tcp;
#[cfg_attr(not(feature = "test-util"), allow(unreachable_pub))]
pub(crate) mod times;
mod websocket;

#[cfg(test)]
pub(crate) mod testing;

#[cfg(feature = "regex")]
pub use self::regex::InvalidExpectation;
pub(crate) use self::{check::check, times::ProbeTimes};
pub use self::{
    failure::ProbeFailure,
    from_fn::{ProbeFn, probe_fn},
    http::HttpProbe,
    probe_trait::{Probe, ProbeFuture},
    schedule::ProbeSchedule,
    target::ProbeTarget,
    tcp::TcpProbe,
    websocket::WebSocketProbe,
};
