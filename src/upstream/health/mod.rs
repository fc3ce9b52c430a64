//! Health checks: which upstreams are usable, by probes and by clients' handshakes and tunnels.
//!
//! ```text
//!  probes ────────┐                                        ┌──► OutlierPolicy
//!                 ├──► HealthEvent ──► HealthEvaluator ──► HealthTracker ◄┘      (outliers)
//!  handshakes, ───┘                 (HealthPolicy)  │
//!  tunnels                                          ▼
//!                               Availability ──► usable upstreams
//! ```
//!
//! | type | decides | Envoy | HAProxy |
//! |---|---|---|---|
//! | [`Probe`]: [`WebSocketProbe`], [`HttpProbe`], [`TcpProbe`], [`probe_fn`] | whether an upstream responds | health checker: `http_health_check`, `tcp_health_check` | `check`, `option httpchk` |
//! | [`ProbeSchedule`] | the time of the next probe | `interval`, `unhealthy_interval`, `interval_jitter`, `timeout` | `inter`, `fastinter`, `downinter`, `timeout check` |
//! | [`EventFilter`] | the meaning of events | `split_external_local_origin_errors` | `observe layer4`, `observe layer7` |
//! | [`HealthPolicy`], with a [`HealthEvaluator`] per upstream | when an upstream is unhealthy | `unhealthy_threshold`, `healthy_threshold` | `fall`, `rise` |
//! | [`OutlierPolicy`]: [`SuccessRateOutliers`], set by [`PoolBuilder::outliers`](crate::PoolBuilder::outliers) | which upstreams do worse than the others | outlier detection, `success_rate_*` | |
//! | [`Ejection`] | how long an upstream is ejected | `base_ejection_time`, `max_ejection_time` | |
//! | [`HealthControl`] | whether events or the operator decide | | `set server … health` |
//! | [`HealthTracker`] | the [`HealthState`] of an upstream | host health flags | server state (`UP`, `DOWN`) |
//! | [`Availability`] | the use of unhealthy upstreams when few are healthy | `healthy_panic_threshold`, `max_ejection_percent` | |
//!
//! | policy | unhealthy | Envoy | HAProxy |
//! |---|---|---|---|
//! | [`Consecutive`] | after a number of failures in a row | `consecutive_5xx`, `consecutive_gateway_failure` | `fall`, `error-limit` |
//! | [`FailureRate`] | while failures exceed a share of a sliding window | `failure_percentage_threshold` | |
//! | [`MaxFails`] | while a number of failures lie within a time | | |
//! | [`SlowHandshake`] | after a number of slow handshakes in a row | | |
//! | [`Passive`] | by clients' handshakes: a default beside that for probes | outlier detection | `observe` |
//! | [`AnyOf`], [`AllOf`] | if any of several policies, or all of them, find it unhealthy | | |
//!
//! Clients' news has three weights. A failure of one client on one path makes other upstreams
//! preferable for a second, and for longer with each further failure in a row; on two paths, for the
//! time of an ejection. Neither moves the keys of a hash, nor closes a tunnel. A policy's finding is
//! a verdict, with these consequences, if it rests on three clients (by address, IPv6 by /64
//! network), a failing probe, or failed connects. Failures of the proxy's own machine and of its
//! resolver are nobody's health.
//!
//! Everything but the probes is pure: events carry their time, and randomness is an argument. A
//! policy of your own can be tested without waiting:
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use tokio::time::Instant;
//! use wsplice::health::{
//!     Consecutive, Ejection, HealthEvent, HealthEventKind, ProbeFailure, Probed, HealthTracker,
//! };
//!
//! let start = Instant::now();
//! let policy = Arc::new(Consecutive::new().fails(3).passes(2));
//! let mut tracker = HealthTracker::new(policy, Ejection::new(), Probed::Yes, start);
//!
//! for second in [0, 10, 20] {
//!     let reason = ProbeFailure::other("the cellar is flooded");
//!     let at = start + Duration::from_secs(second);
//!     tracker.observe(&HealthEvent::new(at, HealthEventKind::ProbeFailed { reason }), 0.5);
//! }
//! assert!(!tracker.state().is_usable());
//! ```

mod availability;
mod doubt;
mod ejection;
mod event;
mod event_filter;
mod event_origin;
mod evidence;
mod health_counts;
mod health_state;
mod outlier;
mod policy;
mod probe;
mod schedule;
mod tracker;
mod upstream_health;

pub(crate) use self::{doubt::Doubt, event_origin::EventOrigin, health_counts::HealthCounts};
#[cfg(test)]
pub(crate) use probe::testing as upstreams;
#[cfg(test)]
mod testing;

#[cfg(feature = "regex")]
pub use self::probe::InvalidExpectation;
pub use self::{
    availability::{
        Admitted, Availability, Either, FailClosed, KeepLast, MaxEjectionPercent, PanicThreshold,
        Standard,
    },
    ejection::Ejection,
    event::{EventOutcome, EventSource, HealthEvent, HealthEventKind},
    event_filter::EventFilter,
    health_state::{EjectedBy, HealthControl, HealthState, HealthTransition},
    outlier::{EventCounts, Outlier, OutlierPolicy, SuccessRateOutliers},
    policy::{
        AllOf, AnyOf, Consecutive, FailureRate, HealthEvaluator, HealthPolicy, MaxFails, Passive,
        SlowHandshake, UpstreamView, Verdict,
    },
    probe::{
        HttpProbe, Probe, ProbeFailure, ProbeFn, ProbeFuture, ProbeTarget, TcpProbe,
        WebSocketProbe, check, probe_fn,
    },
    schedule::{ProbeSchedule, ProbeTimes},
    tracker::{HealthTracker, Probed},
    upstream_health::UpstreamHealth,
};
