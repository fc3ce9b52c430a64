//! The attempts of one request: the upstreams tried so far, and whether to try another.
//!
//! ```text
//!        ┌───────────────────── retry ────────────────────────┐
//!        ▼                                                    │
//! next ──► Attempt ──► exchange ──► failed, refused ┴─► FallbackOutcome
//!                                           succeeded ────────► Lease
//! ```
//!
//! The caller sends the request: `next` yields an [`Attempt`], and the caller returns it with the
//! result.

use std::{future::Future, sync::Arc, time::Duration};

use http::{Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use crate::{
    error::{Error, ErrorKind},
    http::head::RequestHead,
    http::relay::RelayedBody,
    instant::saturating_add,
    pool::{GrantedRetry, Lease},
    upstream::Member,
    upstream::admission::AdmissionKind,
    upstream::retry::{Cost, Retry},
};

use super::{attempt::Attempt, event_reporter::EventReporter, settings::Settings};

/// The result of a request if no later attempt succeeds.
pub(super) enum FallbackOutcome {
    /// A response of an upstream, ready for the client.
    Response(Box<Response<RelayedBody>>),
    /// The failure of the last attempt, which was reported when it occurred.
    Failure(Error),
    /// An error outside of the attempts.
    Error(Error),
}

/// The attempts of one request.
pub(super) struct Attempts<'a> {
    reporter: &'a EventReporter,
    visit: AdmissionKind,
    retry: &'a Retry,
    /// End of the time for all attempts, set by the first one.
    deadline: Option<Instant>,
    tried: Vec<Arc<Member>>,
    /// Number of the excluded among those that count as tried.
    excluded: usize,
    /// Number of attempts that broke before a byte of a response.
    broken: usize,
    /// Result of the last attempt, with the grant of the next one.
    fallback: Option<(FallbackOutcome, GrantedRetry<'a>)>,
}

impl<'a> Attempts<'a> {
    /// No attempt is made at the excluded upstream.
    pub(super) fn new(
        reporter: &'a EventReporter,
        visit: AdmissionKind,
        excluded: Option<&Arc<Member>>,
    ) -> Self {
        let tried: Vec<_> = excluded.cloned().into_iter().collect();
        Self {
            reporter,
            visit,
            retry: &reporter.settings().retry,
            deadline: None,
            excluded: tried.len(),
            tried,
            broken: 0,
            fallback: None,
        }
    }

    /// Leases an upstream that has not been tried.
    ///
    /// The result of the previous attempt is kept until then.
    ///
    /// # Errors
    ///
    /// Returns the result of the previous attempt; without one, the reason why no upstream is
    /// available.
    pub(super) async fn next(
        &mut self,
        head: &RequestHead<'_>,
    ) -> Result<Attempt, FallbackOutcome> {
        let lease = self.settings().pool.lease(self.visit, head, &self.tried);
        let leased = match self.deadline {
            // The queue has a bound of its own.
            None => lease.await,
            Some(deadline) => timeout_at(deadline, lease)
                .await
                .unwrap_or_else(|_| Err(self.timeout_error())),
        };
        let lease = match (leased, self.fallback.take()) {
            (Ok(lease), None) => lease,
            (Ok(lease), Some((_, retry))) => {
                retry.made();
                lease
            }
            (Err(error), None) => return Err(FallbackOutcome::Error(error)),
            (Err(_), Some((fallback, _))) => return Err(fallback),
        };
        let attempt = Attempt {
            lease,
            started_at: Instant::now(),
            number: self.made() + 1,
            connect: None,
        };
        self.start(&attempt);
        Ok(attempt)
    }

    /// Awaits a part of an attempt within the time for all attempts. A part that ends by itself before,
    /// within `limit`, needs no further timer.
    ///
    /// The caller should pin the part: an async function holds an argument passed by value twice.
    ///
    /// # Errors
    ///
    /// Returns the future's own error, or [`ErrorKind::AttemptsTimeout`].
    pub(super) async fn bounded<T>(
        &self,
        limit: Option<Duration>,
        part: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let own = limit.map(|limit| saturating_add(Instant::now(), limit));
        let deadline = self.deadline;
        match deadline.filter(|deadline| own.is_none_or(|own| own > *deadline)) {
            None => part.await,
            Some(deadline) => timeout_at(deadline, part)
                .await
                .unwrap_or_else(|_| Err(self.timeout_error())),
        }
    }

    /// Awaits a part of an attempt within a time of its own, and that for all attempts, by one timer.
    ///
    /// # Errors
    ///
    /// Returns the future's own error, an error of this kind, or [`ErrorKind::AttemptsTimeout`].
    pub(super) async fn bounded_within<T>(
        &self,
        within: Duration,
        kind: ErrorKind,
        part: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let own = saturating_add(Instant::now(), within);
        let (at, error) = match self.deadline {
            Some(deadline) if deadline < own => (deadline, ErrorKind::AttemptsTimeout),
            _ => (own, kind),
        };
        let timed_out = |_| match error {
            ErrorKind::AttemptsTimeout => Err(self.timeout_error()),
            kind => Err(Error::with_source(kind, format!("after {within:?}"))),
        };
        timeout_at(at, part).await.unwrap_or_else(timed_out)
    }

    /// Reports an accepted handshake, and returns the upstream's lease.
    pub(super) fn succeeded(self, attempt: Attempt) -> Lease {
        self.reporter.accepted(&attempt);
        self.count_request(&attempt);
        attempt.lease
    }

    /// Reports an upstream's response to a forwarded request, which is relayed to the client. It may go on
    /// for long, but a trial of the upstream is over with its head.
    pub(super) fn responded(&self, attempt: &mut Attempt, status: StatusCode) {
        self.reporter.responded(attempt, status);
        self.count_request(attempt);
        attempt.lease.end_trial();
    }

    /// Reports a failure that must not be retried.
    pub(super) fn failed_finally(&self, attempt: &Attempt, error: Error) -> FallbackOutcome {
        self.reporter.failed(attempt, &error);
        self.count_request(attempt);
        FallbackOutcome::Failure(error)
    }

    /// Reports a failure, and releases the upstream.
    ///
    /// # Errors
    ///
    /// Returns the failure if no other attempt is allowed.
    pub(super) fn failed(&mut self, attempt: Attempt, error: Error) -> Result<(), FallbackOutcome> {
        self.reporter.failed(&attempt, &error);
        let cost = self.retry.after_failure(error.kind(), self.broken);
        self.broken += usize::from(error.kind() == ErrorKind::NoResponse);
        self.release(attempt);
        self.plan_retry(cost, FallbackOutcome::Failure(error))
    }

    /// Reports a refusal with the upstream's status. The response holds the attempt's lease until
    /// the exchange is over.
    ///
    /// Returns the cost of another attempt, if the status allows one.
    pub(super) fn refused(&mut self, attempt: &mut Attempt, status: StatusCode) -> Option<Cost> {
        self.reporter.refused(attempt, status);
        self.count_request(attempt);
        self.tried.push(Arc::clone(attempt.lease.member()));
        attempt.lease.end_handshake();
        self.retry.after_status(status)
    }

    /// Plans another attempt after a refusal.
    ///
    /// # Errors
    ///
    /// Returns the response if no other attempt is allowed.
    pub(super) fn retry_after(
        &mut self,
        cost: Option<Cost>,
        response: Response<RelayedBody>,
    ) -> Result<(), FallbackOutcome> {
        self.plan_retry(cost, FallbackOutcome::Response(Box::new(response)))
    }

    fn start(&mut self, attempt: &Attempt) {
        if attempt.number == 1 {
            self.deadline = Some(saturating_add(attempt.started_at, self.retry.time()));
        } else {
            self.reporter.retried(attempt);
        }
    }

    /// Counts a request for the retry budget when its first attempt ends, so that a long wait
    /// before does not age the count until the retry.
    fn count_request(&self, attempt: &Attempt) {
        if attempt.number == 1 {
            self.settings().pool.count_request(Instant::now());
        }
    }

    fn release(&mut self, attempt: Attempt) {
        self.count_request(&attempt);
        self.tried.push(Arc::clone(attempt.lease.member()));
        // Dropped here, so that the next attempt can use the capacity.
        drop(attempt);
    }

    /// Draws the next attempt from the budget; `None` means that the result must not be retried.
    fn plan_retry(
        &mut self,
        cost: Option<Cost>,
        fallback: FallbackOutcome,
    ) -> Result<(), FallbackOutcome> {
        let now = Instant::now();
        let Some(cost) = cost.filter(|_| self.can_retry(now)) else {
            return Err(fallback);
        };
        let Some(retry) = self.settings().pool.grant_retry(cost) else {
            tracing::debug!("no retry: the retry budget is exhausted");
            return Err(fallback);
        };
        self.fallback = Some((fallback, retry));
        Ok(())
    }

    /// The number of attempts that have ended.
    fn made(&self) -> usize {
        self.tried.len() - self.excluded
    }

    /// Returns whether attempts, time and upstreams are left.
    fn can_retry(&self, now: Instant) -> bool {
        self.made() < self.retry.max_attempts()
            && self.deadline.is_none_or(|deadline| now < deadline)
            && self.settings().pool.has_other(&self.tried, now)
    }

    fn timeout_error(&self) -> Error {
        let within = self.retry.time();
        Error::with_source(ErrorKind::AttemptsTimeout, format!("after {within:?}"))
    }

    fn settings(&self) -> &'a Settings {
        self.reporter.settings()
    }
}

impl From<Error> for FallbackOutcome {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}
