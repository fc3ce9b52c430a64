//! Tools for the tests of policies of your own: without upstreams, without a network, and without
//! waiting. Feature `test-util`.
//!
//! | for the test of | use |
//! |---|---|
//! | a [`Balance`](crate::balance::Balance) policy | [`MockCandidates`]: tunnels that open and close, [handshakes under way](MockCandidates::begin_handshake), [latencies](MockCandidates::sample_latency) |
//! | a [`HealthPolicy`](crate::health::HealthPolicy) | [`HealthTracker`] |
//! | an [`Availability`](crate::health::availability::Availability) policy | [`UpstreamHealth`](crate::health::availability::UpstreamHealth) |
//! | a [`Probe`](crate::health::probe::Probe) | [`check`] |
//! | a [`ProbeSchedule`](crate::health::probe::ProbeSchedule) | [`ProbeTimes`]; after clients' events: [`ProbeTimes::reschedule`] |
//! | a pool that follows DNS, or connects by names (feature `dns`) | `MockDns`: its records (`set_services` for SRV), its failures, and `recover` |
//!
//! # Examples
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use tokio::time::Instant;
//! use wsplice::{
//!     health::{Consecutive, Ejection, HealthEvent, HealthEventKind, probe::ProbeFailure},
//!     testing::{HealthTracker, Probed},
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

#[cfg(feature = "dns")]
#[cfg_attr(docsrs, doc(cfg(feature = "dns")))]
pub use crate::upstream::discovery::dns::mock_dns::MockDns;
pub use crate::upstream::{
    balance::mock_candidates::MockCandidates,
    health::{
        probe::{check::check, times::ProbeTimes},
        tracker::{HealthTracker, Probed},
    },
};
