//! One request's attempts at upstreams: who was tried, and whether to go on.
//!
//! ```text
//!        ┌──────────────── may be tried again ────────────────┐
//!        ▼                                                    │
//! next / connect ──► Attempt ──► exchange ──► failed, refused ┴─► what stands
//! ```
//!
//! What a request asks of its upstream, and how, is the caller's. It takes an [`Attempt`], sees
//! what comes of it, and gives it back with that; or keeps its lease, if the attempt came to good.

use std::sync::Arc;

use http::{Response, StatusCode};
use tokio::time::Instant;

use crate::{
    admission::Visit,
    error::{Error, ErrorKind},
    head::RequestHead,
    pool::Lease,
    transport::Transport,
    upstream::Member,
};

use super::{pipeline::Answered, settings::Settings, teller::Teller};

/// What the client gets if no other attempt comes to good.
pub(super) enum Standing {
    /// An upstream's own answer, ready to be passed on.
    Answer(Box<Response<Answered>>),
    Error(Error),
}

/// The attempts of one request.
pub(super) struct Attempts<'a> {
    teller: &'a Teller,
    visit: Visit,
    tried: Vec<Arc<Member>>,
    standing: Option<Standing>,
}

/// A try at one upstream.
pub(super) struct Attempt {
    pub(super) lease: Lease,
    pub(super) began: Instant,
}

impl<'a> Attempts<'a> {
    pub(super) const fn new(teller: &'a Teller, visit: Visit) -> Self {
        Self {
            teller,
            visit,
            tried: Vec::new(),
            standing: None,
        }
    }

    /// Leases an upstream that has not been tried.
    ///
    /// # Errors
    ///
    /// What the attempt before has come to, which says more than that there is no other upstream;
    /// without one, why there is none.
    pub(super) async fn next(&mut self, head: &RequestHead<'_>) -> Result<Attempt, Standing> {
        let leased = self
            .settings()
            .pool
            .lease(self.visit, head, &self.tried)
            .await;
        let standing = self.standing.take();
        match leased {
            Ok(lease) => Ok(Attempt {
                lease,
                began: Instant::now(),
            }),
            Err(error) => Err(standing.unwrap_or(Standing::Error(error))),
        }
    }

    /// Connects to an upstream; to the next one if that fails, as often as may be.
    ///
    /// # Errors
    ///
    /// What stands when none was connected.
    pub(super) async fn connect(
        &mut self,
        head: &RequestHead<'_>,
    ) -> Result<(Attempt, Transport), Standing> {
        loop {
            let attempt = self.next(head).await?;
            let address = attempt.lease.member().upstream().address();
            match self.settings().dial.dial(address).await {
                Ok(transport) => return Ok((attempt, transport)),
                Err(error) => self.failed(attempt, error)?,
            }
        }
    }

    /// Takes note of a failure.
    ///
    /// # Errors
    ///
    /// The failure, if nothing more may be tried.
    pub(super) fn failed(&mut self, attempt: Attempt, error: Error) -> Result<(), Standing> {
        self.teller.failed(&attempt, &error);
        let is_unsent = is_before_request(error.kind());
        self.tried.push(Arc::clone(attempt.lease.member()));
        drop(attempt);
        if is_unsent && self.tried.len() < self.settings().connect_attempts {
            self.standing = Some(Standing::Error(error));
            return Ok(());
        }
        Err(Standing::Error(error))
    }

    /// Takes note of an upstream's no: the status that it gave, and the answer as it would be
    /// passed on.
    ///
    /// # Errors
    ///
    /// The answer, if nothing more may be tried.
    pub(super) fn refused(
        &mut self,
        attempt: Attempt,
        status: StatusCode,
        answer: Response<Answered>,
    ) -> Result<(), Standing> {
        self.teller.refused(&attempt, status);
        drop(attempt);
        Err(Standing::Answer(Box::new(answer)))
    }

    fn settings(&self) -> &'a Settings {
        self.teller.settings()
    }
}

impl Attempt {
    /// The upstream's name.
    pub(super) fn upstream(&self) -> &str {
        self.lease.member().upstream().name()
    }
}

impl From<Error> for Standing {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Whether what failed so has not sent a byte of the request, so that trying again is safe.
const fn is_before_request(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Resolve
            | ErrorKind::Connect
            | ErrorKind::ConnectTimeout
            | ErrorKind::Tls
            | ErrorKind::TlsTimeout
    )
}
