//! Handshakes with the next upstream of a running tunnel.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;
use tokio::time::{sleep, timeout};

use crate::{
    error::{Error, ErrorKind},
    http::{handshake::AgreedExtensions, relay::RelayedBody},
    pool::GrantedRetry,
    task::catch_panics,
    tunnel::{
        Hook, UpstreamContext,
        info::TunnelInfo,
        reattach::{
            Loss, Reattach, ReattachDecision, ReattachRefusal, ReattachRequest, Restoration,
        },
    },
    upstream::{Member, admission::AdmissionKind, retry::Cost},
};

use super::{
    attempt::Attempt,
    attempts::Attempts,
    event_reporter::{EventReporter, Subject},
    opening::{Accepted, Opening, OpeningResponse},
    pipeline::{Exchange, FailedAttempt, Received, panicked, try_upstreams},
    restore::restore,
    running_session::{NextLeg, NotReattached, Occasion, Reconnect, Reconnecting},
    settings::Settings,
};

/// First pause between two rounds of attempts; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause between two rounds of attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The kept handshake of a running tunnel.
pub(super) struct Reconnector {
    pub(super) opening: Opening,
    pub(super) settings: Arc<Settings>,
    pub(super) reattach: Arc<Reattach>,
    /// The subprotocol in the 101 that the client got.
    pub(super) subprotocol: Option<Box<str>>,
    pub(super) extensions: AgreedExtensions,
}

impl Reconnect for Reconnector {
    fn reconnect(self: Arc<Self>, tunnel: &TunnelInfo, occasion: Occasion) -> Reconnecting {
        let tunnel = tunnel.clone();
        Box::pin(async move {
            let next = pin!(self.next_upstream(tunnel, occasion));
            match timeout(self.reattach.time(), catch_panics(|| next)).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(panic)) => {
                    panicked(&*panic);
                    Err(ReattachRefusal::Unavailable.into())
                }
                Err(_) => Err(ReattachRefusal::Timeout.into()),
            }
        })
    }
}

impl Reconnector {
    /// Lets the host decide, and makes the handshake again until an upstream accepts or refuses it.
    async fn next_upstream(
        &self,
        tunnel: TunnelInfo,
        occasion: Occasion,
    ) -> Result<NextLeg, NotReattached> {
        if let Occasion::Loss(_) = occasion {
            sleep(self.reattach.spread_time().mul_f64(fastrand::f64())).await;
        }
        let Some(hook) = self.reattach.hook() else {
            return Ok(self.handshakes(&self.opening, &occasion).await?);
        };
        let restoration = self.consult(hook, tunnel, occasion.loss()).await?;
        let mut opening = self.opening.clone();
        opening.add_headers(restoration.headers());
        let mut next = self.handshakes(&opening, &occasion).await?;
        next.restoration = restoration;
        restore(&mut next).await?;
        Ok(next)
    }

    /// Asks the host for its decision.
    async fn consult(
        &self,
        hook: &Hook,
        tunnel: TunnelInfo,
        loss: Loss,
    ) -> Result<Restoration, NotReattached> {
        let Opening { head, client, .. } = &self.opening;
        let request = ReattachRequest::new(tunnel, Arc::new(head.clone()), client.ip, loss);
        let deciding = catch_panics(|| hook.decide(request));
        match timeout(self.reattach.decision_time(), deciding).await {
            Ok(Ok(ReattachDecision::Attach(restoration))) => Ok(restoration),
            Ok(Ok(ReattachDecision::Close(frame))) => Err(NotReattached {
                refusal: ReattachRefusal::Hook,
                frame: Some(frame),
            }),
            Ok(Err(_)) => {
                tracing::error!("the host's decision on a reattachment panicked");
                Err(ReattachRefusal::HookPanic.into())
            }
            Err(_) => Err(ReattachRefusal::HookTimeout.into()),
        }
    }

    /// Makes the handshake until an upstream accepts or refuses it.
    async fn handshakes(
        &self,
        opening: &Opening,
        occasion: &Occasion,
    ) -> Result<NextLeg, ReattachRefusal> {
        // The first round of a move is no retry: who orders moves chooses their rate.
        let left = match occasion {
            Occasion::Loss(_) => None,
            Occasion::Move { from } => Some(from),
        };
        let mut is_next_free = left.is_some();
        let mut pause = FIRST_PAUSE;
        loop {
            if self.settings.registry.drain_state().is_draining() {
                return Err(ReattachRefusal::Unavailable);
            }
            // All tunnels of a pool share the budget, so that a lost upstream does not multiply the
            // load of the others.
            let is_free = std::mem::take(&mut is_next_free);
            let retry = match is_free {
                true => None,
                false => self.settings.pool.grant_retry(Cost::Connect),
            };
            if is_free || retry.is_some() {
                if let Some(outcome) = self.round(opening, left, retry).await {
                    return outcome;
                }
            }
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Tries the upstreams that may be used, except the one that is left, once; `None` if none of
    /// them responded. The first attempt is the retry, if the round is one.
    async fn round(
        &self,
        opening: &Opening,
        left: Option<&Arc<Member>>,
        retry: Option<GrantedRetry<'_>>,
    ) -> Option<Result<NextLeg, ReattachRefusal>> {
        let path = opening.head.uri.path();
        let reporter = EventReporter::new(Subject::Reattachment, path, Arc::clone(&self.settings));
        let mut outcome = None;
        let exchange = Reopening {
            reconnector: self,
            opening,
            retry,
            outcome: &mut outcome,
        };
        let head = opening.client.request_head(&opening.head);
        // The outcome is noted by the exchange; a failure has been reported.
        let _ = try_upstreams(&reporter, AdmissionKind::Tunnel, left, &head, exchange).await;
        outcome
    }

    /// Checks that the client can go on with what the next upstream agrees to.
    fn check(&self, accepted: &Accepted) -> Result<(), ReattachRefusal> {
        if accepted.agreement.subprotocol != self.subprotocol {
            return Err(ReattachRefusal::Subprotocol);
        }
        let next = AgreedExtensions::read(&accepted.head.headers);
        match self.extensions.can_be_followed_by(&next) {
            true => Ok(()),
            false => Err(ReattachRefusal::Extensions),
        }
    }
}

/// The exchange of a kept handshake with an upstream.
struct Reopening<'a> {
    reconnector: &'a Reconnector,
    opening: &'a Opening,
    /// Grant of the first attempt, until that begins.
    retry: Option<GrantedRetry<'a>>,
    outcome: &'a mut Option<Result<NextLeg, ReattachRefusal>>,
}

impl Exchange for Reopening<'_> {
    type Accepted = Accepted;
    type Refused = ();

    async fn send(
        &mut self,
        attempts: &Attempts<'_>,
        attempt: &mut Attempt,
    ) -> Result<Received<Self>, FailedAttempt> {
        if let Some(retry) = self.retry.take() {
            retry.made();
        }
        let settings = &self.reconnector.settings;
        let response = self.opening.send(settings, attempts, attempt).await;
        match response? {
            OpeningResponse::Refused(response) => {
                // Another upstream may be tried after some statuses, and then decides.
                *self.outcome = Some(Err(ReattachRefusal::Refused));
                Ok(Received::Refused(response.status(), ()))
            }
            OpeningResponse::Accepted(accepted) => match self.reconnector.check(&accepted) {
                Ok(()) => Ok(Received::Accepted(accepted)),
                Err(refusal) => {
                    *self.outcome = Some(Err(refusal));
                    let error =
                        Error::with_source(ErrorKind::InvalidUpgradeResponse, refusal.as_str());
                    Err(FailedAttempt::Ended(error))
                }
            },
        }
    }

    async fn accept(
        self,
        attempts: Attempts<'_>,
        attempt: Attempt,
        accepted: Accepted,
    ) -> Response<RelayedBody> {
        let mut lease = attempts.succeeded(attempt);
        lease.end_handshake();
        let next = AgreedExtensions::read(&accepted.head.headers);
        let context = match next.has_independent_upstream_messages() {
            true => UpstreamContext::None,
            false => UpstreamContext::Kept,
        };
        *self.outcome = Some(Ok(NextLeg {
            context,
            restoration: Restoration::new(),
            transport: accepted.transport,
            read_ahead: accepted.read_ahead,
            lease,
        }));
        nothing()
    }

    async fn relay(&self, _attempt: Attempt, (): ()) -> Response<RelayedBody> {
        nothing()
    }
}

/// The response that no client waits for.
fn nothing() -> Response<RelayedBody> {
    Response::new(RelayedBody::whole(Bytes::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_kept_beside_the_opening_handshake() {
        let counts = 2 * size_of::<usize>();
        let beside = size_of::<Reconnector>() - size_of::<Opening>() + counts;
        println!("{beside} bytes beside {}", size_of::<Opening>());
        assert!(beside <= 56);
    }
}
