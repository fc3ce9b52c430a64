//! Health policy by failed connects.

use std::borrow::Cow;

use tokio::time::Instant;

use super::health_policy::{HealthEvaluator, Verdict};
use crate::upstream::health::{
    event::HealthEvent,
    evidence::{Connected, connected},
};

/// Health evaluator: unhealthy from the first failed connect to the next one that passes, whether a
/// client's or a probe's. Nothing but a connect refutes a failed connect, and a passing connect
/// refutes nothing else.
#[derive(Clone, Debug, Default)]
pub(super) struct Connects {
    failure: Option<String>,
}

impl HealthEvaluator for Connects {
    fn observe(&mut self, event: &HealthEvent) {
        match connected(&event.kind) {
            Some(Connected::Yes) => self.failure = None,
            Some(Connected::No) => self.failure = Some(event.kind.to_string()),
            None => {}
        }
    }

    fn verdict(&mut self, _now: Instant) -> Verdict {
        match self.failure {
            Some(_) => Verdict::Unhealthy,
            None => Verdict::Healthy,
        }
    }

    fn cause(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.failure.as_deref().unwrap_or_default())
    }

    fn recovers_by_probes(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::health::{
        HealthEventKind,
        testing::{accepted, connect_failed, probe_failed, probe_passed, secs, verdict_after},
    };
    use http::StatusCode;

    #[test]
    fn one_failed_connect_is_enough_and_the_next_that_passes_refutes_it() {
        let status = StatusCode::BAD_GATEWAY;
        for (kind, verdict) in [
            (probe_failed(), Verdict::Unhealthy),
            (probe_passed(), Verdict::Healthy),
            (accepted(), Verdict::Healthy),
            (HealthEventKind::Refused { status }, Verdict::Healthy),
        ] {
            let mut evaluator = Connects::default();
            let failed = verdict_after(&mut evaluator, secs(0), connect_failed());
            assert_eq!(failed, Verdict::Unhealthy);
            assert_eq!(evaluator.cause(), "the upstream could not be connected");
            let after = verdict_after(&mut evaluator, secs(1), kind.clone());
            assert_eq!(after, verdict, "{kind:?}");
        }
    }
}
