//! One request's attempts at upstreams: who was tried, and whether to go on.
//!
//! ```text
//!        ┌──────────────── may be tried again ────────────────┐
//!        ▼                                                    │
//! next / connect ──► Attempt ──► exchange ──► failed, refused ┴─► what stands
//!                                           succeeded ────────► Lease
//! ```
//!
//! What a request asks of its upstream, and how, is the caller's. It takes an [`Attempt`], sees
//! what comes of it, and gives it back with that.

use std::{future::Future, pin::pin, sync::Arc};

use http::{Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use crate::{
    error::{Error, ErrorKind},
    http::head::RequestHead,
    http::headers::ClientInfo,
    instant::saturating_add,
    net::connect::UpstreamConnection,
    pool::Lease,
    upstream::Member,
    upstream::admission::Visit,
    upstream::retry::{Cost, Entry, Retry},
};

use super::{attempt::Attempt, body::ProxyBody, event_reporter::Teller, settings::Settings};

/// What the client gets if no other attempt comes to good.
pub(super) enum Standing {
    /// An upstream's own answer, ready to be passed on.
    Answer(Box<Response<ProxyBody>>),
    Error(Error),
}

/// The attempts of one request.
pub(super) struct Attempts<'a> {
    teller: &'a Teller,
    visit: Visit,
    retry: &'a Retry,
    /// The end of the time for all of them, known from the first on.
    deadline: Option<Instant>,
    tried: Vec<Arc<Member>>,
    /// What the last attempt came to, and what the next one was granted by.
    standing: Option<(Standing, Entry)>,
}

impl<'a> Attempts<'a> {
    pub(super) const fn new(teller: &'a Teller, visit: Visit, retry: &'a Retry) -> Self {
        Self {
            teller,
            visit,
            retry,
            deadline: None,
            tried: Vec::new(),
            standing: None,
        }
    }

    /// Leases an upstream that has not been tried.
    ///
    /// What the attempt before has come to stands until then, and is dropped then.
    ///
    /// # Errors
    ///
    /// What stands; without it, why there is no upstream.
    pub(super) async fn next(&mut self, head: &RequestHead<'_>) -> Result<Attempt, Standing> {
        let lease = self.settings().pool.lease(self.visit, head, &self.tried);
        let leased = match self.deadline {
            // The queue has a bound of its own.
            None => lease.await,
            Some(deadline) => timeout_at(deadline, lease)
                .await
                .unwrap_or_else(|_| Err(self.out_of_time())),
        };
        let lease = match (leased, self.standing.take()) {
            (Ok(lease), _) => lease,
            (Err(error), None) => return Err(Standing::Error(error)),
            (Err(_), Some((standing, entry))) => {
                self.settings().pool.give_back_retry(entry);
                return Err(standing);
            }
        };
        let attempt = Attempt {
            lease,
            began: Instant::now(),
            number: self.tried.len() + 1,
        };
        self.begin(&attempt);
        Ok(attempt)
    }

    /// Finds a way to an upstream; to the next one if that fails, as often as may be.
    ///
    /// # Errors
    ///
    /// What stands when none was connected.
    pub(super) async fn connect(
        &mut self,
        head: &RequestHead<'_>,
        client: &ClientInfo,
    ) -> Result<(Attempt, UpstreamConnection), Standing> {
        loop {
            let attempt = self.next(head).await?;
            let upstream = attempt.lease.member().upstream();
            let header = upstream.proxy_header(head.client_ip(), client);
            let dial = &self.settings().dial;
            let reached = self
                .bounded(pin!(dial.acquire(
                    upstream.address(),
                    upstream.version(),
                    header.as_ref()
                )))
                .await;
            match reached {
                Ok(link) => return Ok((attempt, link)),
                Err(error) => self.failed(attempt, error)?,
            }
        }
    }

    /// Awaits a part of an attempt, for as long as all attempts together may take.
    ///
    /// The part is best pinned by the caller: what is given to an async function by value takes its
    /// place twice.
    ///
    /// # Errors
    ///
    /// The future's own, and [`ErrorKind::AttemptsTimeout`].
    pub(super) async fn bounded<T>(
        &self,
        part: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match self.deadline {
            None => part.await,
            Some(deadline) => timeout_at(deadline, part)
                .await
                .unwrap_or_else(|_| Err(self.out_of_time())),
        }
    }

    /// Takes note of an upstream's yes; the claim on it is the caller's from now on.
    pub(super) fn succeeded(self, attempt: Attempt) -> Lease {
        self.teller.accepted(&attempt);
        self.count(&attempt);
        attempt.lease
    }

    /// Takes note of an upstream's answer to a forwarded request, which goes on to the client.
    pub(super) fn answered(&self, attempt: &Attempt, status: StatusCode) {
        self.teller.answered(attempt, status);
        self.count(attempt);
    }

    /// Takes note of a failure after which nothing may be tried again.
    pub(super) fn lost(&self, attempt: &Attempt, error: Error) -> Standing {
        self.teller.failed(attempt, &error);
        self.count(attempt);
        Standing::Error(error)
    }

    /// Takes note of a failure, and gives the upstream up.
    ///
    /// # Errors
    ///
    /// The failure, if nothing more may be tried.
    pub(super) fn failed(&mut self, attempt: Attempt, error: Error) -> Result<(), Standing> {
        self.teller.failed(&attempt, &error);
        let cost = self.retry.after_failure(error.kind());
        self.give_up(attempt);
        self.go_on(cost, Standing::Error(error))
    }

    /// Takes note of an upstream's no, and gives the upstream up: the status that it gave, and the
    /// answer as it would be passed on.
    ///
    /// # Errors
    ///
    /// The answer, if nothing more may be tried.
    pub(super) fn refused(
        &mut self,
        attempt: Attempt,
        status: StatusCode,
        answer: Response<ProxyBody>,
    ) -> Result<(), Standing> {
        self.teller.refused(&attempt, status);
        let cost = self.retry.after_status(status);
        self.give_up(attempt);
        self.go_on(cost, Standing::Answer(Box::new(answer)))
    }

    fn begin(&mut self, attempt: &Attempt) {
        if attempt.number == 1 {
            self.deadline = Some(saturating_add(attempt.began, self.retry.time()));
        } else {
            self.teller.retried(attempt);
        }
    }

    /// A request counts once its first attempt has ended: who waits long before that must find
    /// that it still counts when it comes to the retry.
    fn count(&self, attempt: &Attempt) {
        if attempt.number == 1 {
            self.settings().pool.count_request(Instant::now());
        }
    }

    fn give_up(&mut self, attempt: Attempt) {
        self.count(&attempt);
        self.tried.push(Arc::clone(attempt.lease.member()));
        // Now, so that the next attempt finds the place free that it may need itself.
        drop(attempt);
    }

    /// Goes on at this cost; `None` says that what was met is not to be tried again.
    fn go_on(&mut self, cost: Option<Cost>, standing: Standing) -> Result<(), Standing> {
        let now = Instant::now();
        let Some(cost) = cost.filter(|_| self.has_more(now)) else {
            return Err(standing);
        };
        let Some(entry) = self.settings().pool.draw_retry(cost, now) else {
            tracing::debug!("not tried again: the retry budget is exhausted");
            return Err(standing);
        };
        self.standing = Some((standing, entry));
        Ok(())
    }

    /// Whether anything is left: attempts, time, upstreams.
    fn has_more(&self, now: Instant) -> bool {
        self.tried.len() < self.retry.max_attempts()
            && self.deadline.is_none_or(|deadline| now < deadline)
            && self.settings().pool.has_other(&self.tried, now)
    }

    fn out_of_time(&self) -> Error {
        let within = self.retry.time();
        Error::with_source(ErrorKind::AttemptsTimeout, format!("after {within:?}"))
    }

    fn settings(&self) -> &'a Settings {
        self.teller.settings()
    }
}

impl From<Error> for Standing {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}
