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
//! | [`Probe`](probe::Probe): [`WebSocketProbe`](probe::WebSocketProbe), [`HttpProbe`](probe::HttpProbe), [`TcpProbe`](probe::TcpProbe), [`probe_fn`](probe::probe_fn) | whether an upstream responds | health checker: `http_health_check`, `tcp_health_check` | `check`, `option httpchk` |
//! | [`ProbeSchedule`](probe::ProbeSchedule) | the time of the next probe | `interval`, `unhealthy_interval`, `interval_jitter`, `timeout` | `inter`, `fastinter`, `downinter`, `timeout check` |
//! | [`EventFilter`] | the meaning of events | `split_external_local_origin_errors` | `observe layer4`, `observe layer7` |
//! | [`HealthPolicy`], with a [`HealthEvaluator`] per upstream | when an upstream is unhealthy | `unhealthy_threshold`, `healthy_threshold` | `fall`, `rise` |
//! | [`OutlierPolicy`](outlier::OutlierPolicy): [`SuccessRateOutliers`](outlier::SuccessRateOutliers), set by [`PoolBuilder::outliers`](crate::pool::PoolBuilder::outliers) | which upstreams do worse than the others | outlier detection, `success_rate_*` | |
//! | [`Ejection`] | how long an upstream is ejected | `base_ejection_time`, `max_ejection_time` | |
//! | [`HealthControl`] | whether events or the operator decide | | `set server … health` |
//! | health tracker | the [`HealthState`] of an upstream | host health flags | server state (`UP`, `DOWN`) |
//! | [`Availability`](availability::Availability) | the use of unhealthy upstreams when few are healthy | `healthy_panic_threshold`, `max_ejection_percent` | |
//!
//! | in a policy of your own, you want | take |
//! |---|---|
//! | to know what an event is about, who observed it, and when that began | [`HealthEvent`]: its [`HealthEventKind`], its [`EventSource`]; a test sets [`HealthEvent::started_at`] |
//! | some kinds of events alone | [`EventFilter`], such as [`EventFilter::count_probes`] |
//! | the event of a failed handshake, or of a tunnel's end | [`HealthEventKind::of_error`], [`HealthEventKind::of_report`] |
//! | passed probes alone to lead to a healthy verdict | [`HealthEvaluator::recovers_by_probes`] |
//! | to know what ejected an upstream | [`EjectedBy`], in its [`HealthState`] |
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
//! a verdict, with these consequences, if it rests on three clients within a minute (by address, IPv6
//! by /64 network), a failing probe, or failed connects. Failures of the proxy's own machine and of
//! its resolver count against no upstream.
//!
//! Everything but the probes is pure: events carry their time, and randomness is an argument. With
//! the feature `test-util`, the module `testing` has the tracker, so that a policy of your own can be
//! tested without waiting.

pub mod availability;
pub mod outlier;
pub mod probe;

mod doubt;
mod ejection;
mod event;
mod event_filter;
mod event_origin;
mod evidence;
mod half_open_trial;
mod health_state;
mod policy;
#[cfg_attr(not(feature = "test-util"), allow(unreachable_pub))]
pub(crate) mod tracker;

#[cfg(test)]
mod testing;

pub(crate) use self::{
    doubt::Doubt,
    event_origin::EventOrigin,
    tracker::{HealthTracker, Probed},
};
pub use self::{
    ejection::Ejection,
    event::{EventOutcome, EventSource, HealthEvent, HealthEventKind},
    event_filter::EventFilter,
    health_state::{EjectedBy, HealthControl, HealthState, HealthTransition},
    policy::{
        AllOf, AnyOf, Consecutive, FailureRate, HealthEvaluator, HealthPolicy, MaxFails, Passive,
        SlowHandshake, UpstreamView, Verdict,
    },
};
