//! The seam: events in, verdict out.

use std::{borrow::Cow, fmt, sync::Arc};

use tokio::time::Instant;

use crate::upstream::health::event::HealthEvent;

/// Decides which upstreams are unhealthy, by giving each of them a judge of its own.
///
/// A [`HealthEvaluator`] that can be cloned is a policy already: every upstream gets a clone.
///
/// # Examples
///
/// Three lost tunnels in a minute are too many:
///
/// ```
/// use std::time::Duration;
/// use tokio::time::Instant;
/// use wsplice::health::{HealthEvent, HealthEventKind, HealthEvaluator, Verdict};
///
/// #[derive(Clone, Debug, Default)]
/// struct Crashes(Vec<Instant>);
///
/// impl HealthEvaluator for Crashes {
///     fn observe(&mut self, event: &HealthEvent) {
///         if let HealthEventKind::TunnelLost { .. } = event.kind {
///             self.0.push(event.at);
///         }
///     }
///
///     fn verdict(&mut self, now: Instant) -> Verdict {
///         self.0.retain(|at| now - *at < Duration::from_secs(60));
///         if self.0.len() >= 3 { Verdict::Unhealthy } else { Verdict::Healthy }
///     }
///
///     fn cause(&self) -> std::borrow::Cow<'_, str> {
///         format!("{} crashes in a minute", self.0.len()).into()
///     }
/// }
///
/// let now = Instant::now();
/// let mut judge = Crashes::default();
/// for _ in 0..3 {
///     let lifetime = Duration::from_secs(9);
///     judge.observe(&HealthEvent::new(now, HealthEventKind::TunnelLost { lifetime }));
/// }
/// assert_eq!(judge.verdict(now), Verdict::Unhealthy);
/// assert_eq!(judge.cause(), "3 crashes in a minute");
/// ```
pub trait HealthPolicy: fmt::Debug + Send + Sync {
    /// A judge who has seen nothing yet, for one upstream.
    fn evaluator(&self) -> Box<dyn HealthEvaluator>;
}

/// Judges one upstream by what is learned of it.
///
/// It never asks for the time: events carry theirs, and a verdict is of the moment it is asked
/// for. Times never go backwards by more than the events of one upstream may overtake one another.
pub trait HealthEvaluator: fmt::Debug + Send + Sync {
    /// Takes an event in.
    fn observe(&mut self, event: &HealthEvent);

    /// What is to be thought of the upstream now.
    fn verdict(&mut self, now: Instant) -> Verdict;

    /// When the verdict may change although nothing happens; `None` when only an event changes
    /// it. A judge who forgets says here when to ask again.
    fn changes_at(&self) -> Option<Instant> {
        None
    }

    /// Why the last verdict was "unhealthy", for people: `3 consecutive probe failures`.
    fn cause(&self) -> Cow<'_, str> {
        Cow::Borrowed("judged unhealthy")
    }

    /// Whether passed probes alone lead back to a healthy verdict.
    ///
    /// An unhealthy upstream gets no clients, so a judge who listens to them alone would never
    /// hear of it again. Where this is false the upstream is
    /// [put on trial](crate::health::Ejection) after a while, probed or not.
    fn recovers_by_probes(&self) -> bool {
        true
    }
}

/// What is thought of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It gets tunnels.
    Healthy,
    /// It should get none.
    Unhealthy,
}

impl<J: HealthEvaluator + Clone + 'static> HealthPolicy for J {
    fn evaluator(&self) -> Box<dyn HealthEvaluator> {
        Box::new(self.clone())
    }
}

impl<P: HealthPolicy + ?Sized> HealthPolicy for Arc<P> {
    fn evaluator(&self) -> Box<dyn HealthEvaluator> {
        (**self).evaluator()
    }
}
