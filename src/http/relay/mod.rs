//! Relaying of requests and responses, for handshakes and forwarded requests alike.
//!
//! * `outbound_rules` (pure) has the headers and the target of every request to an upstream;
//! * `head_limits` limits the head of an upstream's response, and `response_head` (pure) makes the
//!   client's head of it;
//! * `progress` and `clocks` (pure) measure the silence and the rate of both parties;
//! * `exchange` is the state of a response under way: its source, its guard and its clocks;
//! * `group` holds the responses of one upstream, which end with it;
//! * `body` is the body that the client's server reads, and `driver` watches the clocks.
//!
//! A server polls a body only while it can write to the client. So the clocks run beside the body, in
//! the task of the upstream's connection or in one of their own: when one of them is over, the
//! upstream's connection is closed and the guard is dropped, whether the body is polled or not.

mod body;
mod clocks;
mod driver;
mod exchange;
mod group;
mod head_limits;
mod host_body;
mod outbound_rules;
mod progress;
mod response_head;

pub(crate) use body::RelayedBody;
pub(crate) use clocks::{RelayLimits, UpstreamLoss};
pub(crate) use driver::{cut, start};
pub(crate) use exchange::{ExchangeGuard, Look, Relay, Source};
pub(crate) use group::{RelayEntry, RelayGroup, ResponseLength};
pub(crate) use head_limits::{HeadLimits, MAX_HEAD_LINES};
pub(crate) use host_body::HostBody;
pub(crate) use outbound_rules::{OutboundRules, origin_form};
pub(crate) use progress::{ProgressClock, ProgressLimits};
pub(crate) use response_head::{
    adapt_version, client_response, has_unsupported_coding, set_supported_version,
    set_upgrade_headers,
};
