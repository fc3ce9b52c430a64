//! Tells the pool, the logs and the observer what came of a request's attempts.

use std::sync::Arc;

use http::StatusCode;
use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind, Side},
    observe::RequestInfo,
    upstream::health::HealthEventKind,
};

use super::{attempts::Attempt, settings::Settings};

/// One request under way, as those see it who are told of it.
pub(super) struct EventReporter {
    subject: Subject,
    path: Box<str>,
    started_at: Instant,
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

impl EventReporter {
    pub(super) fn new(subject: Subject, path: &str, settings: Arc<Settings>) -> Self {
        Self {
            subject,
            path: path.into(),
            started_at: Instant::now(),
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
            Subject::Handshake => observer.handshake_rejected(&self.request_info(None), error),
            Subject::Request => observer.request_rejected(&self.request_info(None), error),
        }
    }

    /// An upstream could not be reached, broke the handshake, or took too long.
    pub(super) fn failed(&self, attempt: &Attempt, error: &Error) {
        self.report_health(attempt, health_event(attempt, error));
        let upstream = attempt.upstream();
        tracing::warn!(upstream, %error, "{} failed", self.subject.name());
        let Some(observer) = &self.settings.observer else {
            return;
        };
        match self.subject {
            Subject::Handshake => {
                observer.handshake_failed(&self.request_info(Some(attempt)), error);
            }
            Subject::Request => observer.request_failed(&self.request_info(Some(attempt)), error),
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
        let (info, number) = (self.request_info(Some(attempt)), attempt.number);
        match self.subject {
            Subject::Handshake => observer.handshake_retried(&info, number),
            Subject::Request => observer.request_retried(&info, number),
        }
    }

    /// An upstream said no.
    pub(super) fn refused(&self, attempt: &Attempt, status: StatusCode) {
        if self.subject == Subject::Request {
            return self.responded(attempt, status);
        }
        self.report_health(attempt, Some(HealthEventKind::Answered { status }));
        tracing::debug!(%status, "handshake refused by the upstream");
        if let Some(observer) = &self.settings.observer {
            observer.handshake_refused(&self.request_info(Some(attempt)), status);
        }
    }

    /// An upstream agreed.
    pub(super) fn accepted(&self, attempt: &Attempt) {
        let latency = attempt.started_at.elapsed();
        self.report_health(attempt, Some(HealthEventKind::Accepted { latency }));
        tracing::debug!("handshake accepted");
        if let Some(observer) = &self.settings.observer {
            observer.handshake_accepted(&self.request_info(Some(attempt)));
        }
    }

    /// An upstream answered a forwarded request.
    pub(super) fn responded(&self, attempt: &Attempt, status: StatusCode) {
        self.report_health(attempt, Some(HealthEventKind::Forwarded { status }));
        tracing::debug!(%status, "request answered by the upstream");
        if let Some(observer) = &self.settings.observer {
            observer.request_answered(&self.request_info(Some(attempt)), status);
        }
    }

    fn report_health(&self, attempt: &Attempt, kind: Option<HealthEventKind>) {
        let pool = &self.settings.pool;
        pool.note(&attempt.lease, kind, attempt.started_at);
    }

    fn request_info<'a>(&'a self, attempt: Option<&'a Attempt>) -> RequestInfo<'a> {
        RequestInfo {
            path: &self.path,
            upstream: attempt.map(Attempt::upstream),
            elapsed: self.started_at.elapsed(),
        }
    }
}

/// What a failure says of the upstream.
///
/// One that was tried late and then cut off has not had its time, which says nothing of it.
fn health_event(attempt: &Attempt, error: &Error) -> Option<HealthEventKind> {
    if error.kind() == ErrorKind::AttemptsTimeout && attempt.number > 1 {
        return None;
    }
    HealthEventKind::of_error(error)
}
