//! One probe, from its start to the event.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::health::event::{HealthEvent, HealthEventKind};

use super::{Probe, ProbeFailure, ProbeTarget};

/// Asks once, within a time, and tells what came of it as an event for the upstream's
/// [`Standing`](crate::health::Standing).
///
/// # Examples
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use wsplice::{
///     connect::{Address, Connector},
///     health::{HealthEventKind, ProbeTarget, TcpProbe, check},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // A port where nobody listens.
/// let target = ProbeTarget::new(Address::tcp("127.0.0.1", 1), Arc::new(Connector::new()));
/// let event = check(&TcpProbe::new(), &target, Duration::from_secs(5)).await;
/// assert!(matches!(event.kind, HealthEventKind::ProbeFailed { .. }));
/// # }
/// ```
pub async fn check(probe: &dyn Probe, target: &ProbeTarget, within: Duration) -> HealthEvent {
    let began = Instant::now();
    let outcome = timeout(within, probe.probe(target)).await;
    let at = Instant::now();
    let passed_at = target.passed_at();
    let kind = match (outcome, passed_at) {
        (Ok(Ok(())), _) | (_, Some(_)) => HealthEventKind::ProbePassed {
            latency: passed_at.unwrap_or(at) - began,
        },
        (Ok(Err(reason)), None) => HealthEventKind::ProbeFailed { reason },
        (Err(_), None) => HealthEventKind::ProbeFailed {
            reason: ProbeFailure::TimedOut {
                step: target.current_step(),
                after: within,
            },
        },
    };
    HealthEvent::new(at, kind).begun(began)
}
