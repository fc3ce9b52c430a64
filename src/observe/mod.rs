//! Events of handshakes, forwarded requests, tunnels and upstreams.
//!
//! [`Observer`] is the trait to implement, and
//! [`ProxyLayer::observer`](crate::ProxyLayer::observer) takes it, or
//! [`Pool::observe`](crate::Pool::observe) for the events of a pool alone, until its [`ObserverHandle`] is
//! dropped. Its methods get these types.
//!
//! | you want to know | take |
//! |---|---|
//! | which request an event is about, and how long it took to connect | [`RequestInfo`] |
//! | which upstream's health or membership changed | [`UpstreamInfo`] |
//! | whether it was added, changed, removed or drained | [`MembershipChange`] |
//! | how long a handshake waited in its pool's queue, and whether in vain | [`QueueWait`] |
//! | which tunnel an event is about | [`TunnelInfo`](crate::TunnelInfo) |
//! | how a tunnel ended | [`TunnelReport`](crate::TunnelReport) |
//! | why an upstream is healthy or not | [`HealthTransition`](crate::health::HealthTransition) |

mod handle;
mod info;
pub(crate) mod observer;

pub use handle::ObserverHandle;
pub use info::{MembershipChange, QueueWait, RequestInfo, UpstreamInfo};
pub(crate) use observer::Observer;
