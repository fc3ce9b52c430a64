//! Traits of health policies and their evaluators.

use std::{borrow::Cow, fmt, sync::Arc};

use tokio::time::Instant;

use super::upstream_view::UpstreamView;
use crate::upstream::health::event::HealthEvent;

/// Health policy: decides which upstreams are unhealthy, by an evaluator for each of them.
///
/// A [`HealthEvaluator`] that is `Clone` is also a policy: every upstream gets a clone.
///
/// A verdict takes effect if it rests on the news of at least three clients within a minute, on failed
/// connects or on failed probes; one that rests on fewer clients makes other upstreams preferable for a
/// while, and no more. Two clients differ if their addresses do (IPv6: their /64 networks), and clients
/// without a known address count as one: so all clients of a trial on one machine are one client.
///
/// # Examples
///
/// Three lost tunnels within a minute are too many:
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
/// let mut evaluator = Crashes::default();
/// for _ in 0..3 {
///     let lifetime = Duration::from_secs(9);
///     evaluator.observe(&HealthEvent::new(now, HealthEventKind::TunnelLost { lifetime }));
/// }
/// assert_eq!(evaluator.verdict(now), Verdict::Unhealthy);
/// assert_eq!(evaluator.cause(), "3 crashes in a minute");
/// ```
pub trait HealthPolicy: Send + Sync {
    /// Returns a new evaluator, for one upstream.
    fn evaluator(&self) -> Box<dyn HealthEvaluator>;

    /// Returns another policy for this upstream, such as one with thresholds of its own; `None`, the
    /// default, for this one.
    ///
    /// The pool calls this method when the upstream joins.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use wsplice::health::{Consecutive, HealthEvaluator, HealthPolicy, UpstreamView};
    ///
    /// /// Upstreams in another zone may fail twice as often.
    /// #[derive(Debug)]
    /// struct ByZone;
    ///
    /// impl HealthPolicy for ByZone {
    ///     fn evaluator(&self) -> Box<dyn HealthEvaluator> {
    ///         Consecutive::new().evaluator()
    ///     }
    ///
    ///     fn for_upstream(&self, upstream: &UpstreamView<'_>) -> Option<Arc<dyn HealthPolicy>> {
    ///         let is_far = upstream.tag("zone") != Some("here");
    ///         is_far.then(|| Arc::new(Consecutive::new().fails(6)) as _)
    ///     }
    /// }
    /// # let _ = ByZone;
    /// ```
    fn for_upstream(&self, upstream: &UpstreamView<'_>) -> Option<Arc<dyn HealthPolicy>> {
        let _ = upstream;
        None
    }
}

/// Shows the name of the trait alone, as `Debug` is not demanded of its types.
impl fmt::Debug for dyn HealthPolicy + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HealthPolicy")
    }
}

/// Health evaluator: evaluates one upstream by its events.
///
/// An evaluator never reads the clock: events carry their time, and a verdict is for the given
/// time. Times go backwards only as far as events of one upstream overtake one another.
///
/// The pool is locked while an evaluator runs, or while a policy creates one. Neither may call a
/// [`Pool`](crate::Pool): a call that would have to lock one panics, and changes nothing. Such a panic,
/// like any other of an evaluator, is logged and costs no client anything. What an evaluator needs to
/// know of other upstreams is to be left for it by an [`Observer`](crate::Observer) or a task.
pub trait HealthEvaluator: Send + Sync {
    /// Takes in an event.
    fn observe(&mut self, event: &HealthEvent);

    /// Returns the verdict at this time.
    fn verdict(&mut self, now: Instant) -> Verdict;

    /// Returns when the verdict may change without an event; `None` if only an event changes it. An
    /// evaluator whose events expire must return the next expiry.
    fn changes_at(&self) -> Option<Instant> {
        None
    }

    /// Returns the human-readable cause of the last unhealthy verdict: `3 consecutive probe
    /// failures`.
    ///
    /// The failure of the last probe is added to it, unless it is quoted here or the probe has passed
    /// since.
    fn cause(&self) -> Cow<'_, str> {
        Cow::Borrowed("judged unhealthy")
    }

    /// Whether passed probes alone lead to a healthy verdict; false by default.
    ///
    /// An unhealthy upstream gets no clients, so an evaluator that counts clients alone would get
    /// no more events. If this is false, the upstream becomes [half-open](crate::health::Ejection)
    /// after a while, probed or not. The method is called while the verdict is unhealthy. If this is true,
    /// and the verdict does not change although probes pass, the upstream becomes half-open after
    /// the [longest](crate::health::Ejection::max) ejection.
    fn recovers_by_probes(&self) -> bool {
        false
    }
}

/// Shows the name of the trait alone, as `Debug` is not demanded of its types.
impl fmt::Debug for dyn HealthEvaluator + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HealthEvaluator")
    }
}

/// Verdict on an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The upstream gets tunnels.
    Healthy,
    /// The upstream should get no tunnels.
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

    fn for_upstream(&self, upstream: &UpstreamView<'_>) -> Option<Arc<dyn HealthPolicy>> {
        (**self).for_upstream(upstream)
    }
}
