//! Which upstreams are fit for use.
//!
//! ```text
//!  probes ────────┐                                        ┌──► OutlierPolicy
//!                 ├──► HealthEvent ──► HealthEvaluator ──► HealthTracker ◄┘      (outliers)
//!  handshakes, ───┘                 (HealthPolicy)  │
//!  tunnels                                          ▼
//!                               Availability ──► who is used
//! ```
//!
//! | question | answered by |
//! |---|---|
//! | does the upstream answer? | a [`Probe`]: [`WebSocketProbe`], [`HttpProbe`], [`TcpProbe`], [`probe_fn`] |
//! | how often is it asked? | [`ProbeSchedule`] |
//! | what do events say? | [`Signals`] |
//! | when is it unhealthy? | a [`HealthPolicy`], which gives it a [`HealthEvaluator`] |
//! | does it do worse than others? | a [`OutlierPolicy`], set by [`Pool::outliers`](crate::Pool::outliers): [`SuccessRateOutliers`] |
//! | how does it come back? | by its probes, or after its [`Ejection`] |
//! | what when few are left? | an [`Availability`] |
//!
//! | policy | unhealthy |
//! |---|---|
//! | [`Consecutive`] | after so many failures in a row |
//! | [`FailureRate`] | while failures have too large a share of a sliding window |
//! | [`MaxFails`] | while so many failures lie within a time |
//! | [`SlowHandshake`] | after so many slow handshakes in a row |
//! | [`Passive`] | by what clients' handshakes tell: the default where nothing is probed |
//! | [`AnyOf`], [`AllOf`] | as soon as one of several says so, or only when all do |
//!
//! Everything but the probes is pure: events carry their time, and chance is an argument. So a
//! policy of your own is tested without waiting:
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
//! let mut standing = HealthTracker::new(policy, Ejection::new(), Probed::Yes, start);
//!
//! for second in [0, 10, 20] {
//!     let reason = ProbeFailure::other("the cellar is flooded");
//!     let at = start + Duration::from_secs(second);
//!     standing.observe(&HealthEvent::new(at, HealthEventKind::ProbeFailed { reason }), 0.5);
//! }
//! assert!(!standing.state().is_usable());
//! ```

mod availability;
mod ejection;
mod event;
mod outlier;
mod policy;
mod probe;
mod schedule;
mod signals;
mod tracker;

#[cfg(test)]
pub(crate) use probe::testing as upstreams;
#[cfg(test)]
mod testing;

#[cfg(feature = "regex")]
pub use self::probe::InvalidExpectation;
pub use self::{
    availability::{
        Admitted, Availability, Either, FailClosed, KeepLast, MaxEjectionPercent, PanicThreshold,
        UpstreamHealth,
    },
    ejection::Ejection,
    event::{EventSource, HealthEvent, HealthEventKind, Signal},
    outlier::{EventCounts, Outlier, OutlierPolicy, SuccessRateOutliers},
    policy::{
        AllOf, AnyOf, Consecutive, FailureRate, HealthEvaluator, HealthPolicy, MaxFails, Passive,
        SlowHandshake, Verdict,
    },
    probe::{
        HttpProbe, Probe, ProbeFailure, ProbeFn, ProbeTarget, Probing, TcpProbe, WebSocketProbe,
        check, probe_fn,
    },
    schedule::{ProbeSchedule, ProbeTimes},
    signals::Signals,
    tracker::{HealthState, HealthTracker, Probed, Transition},
};
