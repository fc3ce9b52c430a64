//! Tells the pool, the logs and the observer what came of a request's attempts.

use std::sync::Arc;

use http::StatusCode;
use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind, Side},
    observe::RequestInfo,
    upstream::health::HealthEventKind,
};

use super::{attempt::Attempt, settings::Settings};

/// One request under way, as those see it who are told of it.
pub(super) struct Teller {
    subject: Subject,
    path: Box<str>,
    began: Instant,
    settings: Arc<Settings>,
}

/// What is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Handshake,
    /// A request that is forwarded.
    Request,
}

impl Subject {
    const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Request => "request",
        }
    }
}

impl Teller {
    pub(super) fn new(subject: Subject, path: &str, settings: Arc<Settings>) -> Self {
        Self {
            subject,
            path: path.into(),
            began: Instant::now(),
            settings,
        }
    }

    pub(super) const fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The path that was asked for, without its query.
    pub(super) const fn path(&self) -> &str {
        &self.path
    }

    /// The proxy itself says no. An upstream's failure has been told when it happened.
    pub(super) fn rejected(&self, error: &Error) {
        if error.side() == Side::Upstream {
            return;
        }
        tracing::debug!(%error, "{} rejected", self.subject.name());
        let Some(observer) = &self.settings.observer else {
            return;
        };
        match self.subject {
            Subject::Handshake => observer.handshake_rejected(&self.shown(None), error),
            Subject::Request => observer.request_rejected(&self.shown(None), error),
        }
    }

    /// An upstream could not be reached, broke the handshake, or took too long.
    pub(super) fn failed(&self, attempt: &Attempt, error: &Error) {
        self.note(attempt, kind_of(attempt, error));
        let upstream = attempt.upstream();
        tracing::warn!(upstream, %error, "{} failed", self.subject.name());
        let Some(observer) = &self.settings.observer else {
            return;
        };
        match self.subject {
            Subject::Handshake => observer.handshake_failed(&self.shown(Some(attempt)), error),
            Subject::Request => observer.request_failed(&self.shown(Some(attempt)), error),
        }
    }

    /// A further upstream is being tried.
    pub(super) fn retried(&self, attempt: &Attempt) {
        let upstream = attempt.upstream();
        tracing::debug!(
            upstream,
            attempt = attempt.number,
            "trying another upstream"
        );
        let Some(observer) = &self.settings.observer else {
            return;
        };
        let (shown, number) = (self.shown(Some(attempt)), attempt.number);
        match self.subject {
            Subject::Handshake => observer.handshake_retried(&shown, number),
            Subject::Request => observer.request_retried(&shown, number),
        }
    }

    /// An upstream said no.
    pub(super) fn refused(&self, attempt: &Attempt, status: StatusCode) {
        if self.subject == Subject::Request {
            return self.answered(attempt, status);
        }
        self.note(attempt, Some(HealthEventKind::Answered { status }));
        tracing::debug!(%status, "handshake refused by the upstream");
        if let Some(observer) = &self.settings.observer {
            observer.handshake_refused(&self.shown(Some(attempt)), status);
        }
    }

    /// An upstream agreed.
    pub(super) fn accepted(&self, attempt: &Attempt) {
        let latency = attempt.began.elapsed();
        self.note(attempt, Some(HealthEventKind::Accepted { latency }));
        tracing::debug!("handshake accepted");
        if let Some(observer) = &self.settings.observer {
            observer.handshake_accepted(&self.shown(Some(attempt)));
        }
    }

    /// An upstream answered a forwarded request.
    pub(super) fn answered(&self, attempt: &Attempt, status: StatusCode) {
        self.note(attempt, Some(HealthEventKind::Forwarded { status }));
        tracing::debug!(%status, "request answered by the upstream");
        if let Some(observer) = &self.settings.observer {
            observer.request_answered(&self.shown(Some(attempt)), status);
        }
    }

    fn note(&self, attempt: &Attempt, kind: Option<HealthEventKind>) {
        let pool = &self.settings.pool;
        pool.note(&attempt.lease, kind, attempt.began);
    }

    fn shown<'a>(&'a self, attempt: Option<&'a Attempt>) -> RequestInfo<'a> {
        RequestInfo {
            path: &self.path,
            upstream: attempt.map(Attempt::upstream),
            elapsed: self.began.elapsed(),
        }
    }
}

/// What a failure says of the upstream.
///
/// One that was tried late and then cut off has not had its time, which says nothing of it.
fn kind_of(attempt: &Attempt, error: &Error) -> Option<HealthEventKind> {
    if error.kind() == ErrorKind::AttemptsTimeout && attempt.number > 1 {
        return None;
    }
    HealthEventKind::of_error(error)
}
