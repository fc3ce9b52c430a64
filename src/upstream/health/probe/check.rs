//! Run of one probe, from its start to the event.

use std::{future::poll_fn, task::Poll, time::Duration};

use tokio::time::{Instant, timeout};

use crate::{
    task::{catch_panic, panic_message},
    upstream::health::event::{HealthEvent, HealthEventKind},
};

use super::{
    failure::ProbeFailure,
    probe_trait::{Probe, ProbeFuture},
    target::ProbeTarget,
};

/// Runs a probe once, with a timeout, and returns the result as an event for the upstream's
/// [`HealthTracker`](crate::testing::HealthTracker). A probe that panics has failed.
///
/// # Examples
///
/// ```
/// # #[cfg(not(feature = "test-util"))]
/// # fn main() {}
/// # #[cfg(feature = "test-util")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::{sync::Arc, time::Duration};
/// use wsplice::{
///     connect::{Address, Connector},
///     health::{HealthEventKind, probe::{ProbeTarget, TcpProbe}},
///     testing::check,
/// };
///
/// // A port without a listener.
/// let target = ProbeTarget::new(Address::tcp("127.0.0.1", 1), Arc::new(Connector::new()));
/// let event = check(&TcpProbe::new(), &target, Duration::from_secs(5)).await;
/// assert!(matches!(event.kind, HealthEventKind::ProbeFailed { .. }));
/// # }
/// ```
pub async fn check(probe: &dyn Probe, target: &ProbeTarget, within: Duration) -> HealthEvent {
    let began = Instant::now();
    let outcome = timeout(within, run(probe, target)).await;
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
    HealthEvent::new(at, kind).started_at(began)
}

/// Runs the probe to its end, or to its panic.
async fn run(probe: &dyn Probe, target: &ProbeTarget) -> Result<(), ProbeFailure> {
    let mut probing: Option<ProbeFuture<'_>> = None;
    poll_fn(|cx| {
        let poll = || {
            let probing = probing.get_or_insert_with(|| probe.probe(target));
            probing.as_mut().poll(cx)
        };
        catch_panic(poll).unwrap_or_else(|panic| {
            let message = panic_message(&*panic);
            Poll::Ready(Err(ProbeFailure::Panicked(message.into())))
        })
    })
    .await
}

#[cfg(test)]
#[allow(clippy::panic)] // a panicking probe is tested
mod tests {
    use super::*;
    use crate::upstream::health::probe::{
        probe_fn,
        testing::{Scripted, UpstreamEnd, outcome},
    };

    #[tokio::test]
    async fn a_probe_that_panics_has_failed() {
        let max_concurrent = probe_fn(|_| -> std::future::Ready<Result<(), ProbeFailure>> {
            panic!("out of {}", "paper")
        });
        let later = probe_fn(|target: ProbeTarget| async move {
            target.connect().await?;
            panic!("no message needed")
        });
        let upstream = || Scripted::new(UpstreamEnd::hang);
        let said = outcome(&max_concurrent, upstream()).await.unwrap_err();
        assert_eq!(said, "the probe panicked: out of paper");
        let said = outcome(&later, upstream()).await.unwrap_err();
        assert_eq!(said, "the probe panicked: no message needed");
    }
}
