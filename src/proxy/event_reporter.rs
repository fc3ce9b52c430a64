//! Reports of a request's attempts to the pool, the logs and the observer.

use std::sync::Arc;

use http::{Response, StatusCode, Version};
use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind},
    escaped::Escaped,
    observe::RequestInfo,
    upstream::health::HealthEventKind,
};

use super::{attempt::Attempt, settings::Settings, trace::record_response};

/// Reporter of the events of one request.
pub(super) struct EventReporter {
    subject: Subject,
    path: Box<str>,
    started_at: Instant,
    settings: Arc<Settings>,
}

/// Kind of the reported request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Handshake,
    /// A forwarded request.
    Request,
    /// A handshake with the next upstream of a running tunnel.
    Reattachment,
}

impl Subject {
    const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Request => "request",
            Self::Reattachment => "reattachment",
        }
    }

    /// Describes a response of an upstream to a client of this version.
    fn outcome(self, status: StatusCode, version: Version) -> &'static str {
        let is_accepted = match version >= Version::HTTP_2 {
            // RFC 8441 §5: a success of the extended `CONNECT`.
            true => status.is_success(),
            false => status == StatusCode::SWITCHING_PROTOCOLS,
        };
        match self {
            Self::Handshake | Self::Reattachment if is_accepted => "accepted",
            Self::Handshake | Self::Reattachment => "refused",
            Self::Request => "relayed",
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

    pub(super) const fn subject(&self) -> Subject {
        self.subject
    }

    /// Returns the time at which the request was taken up.
    pub(super) const fn started_at(&self) -> Instant {
        self.started_at
    }

    /// Returns the requested path, without its query.
    pub(super) const fn path(&self) -> &str {
        &self.path
    }

    /// Reports that the proxy itself rejected the request, or that the client failed to send it.
    pub(super) fn rejected(&self, error: &Error) {
        tracing::debug!(
            error = %Escaped(format_args!("{error:#}")),
            "{} rejected",
            self.subject.name()
        );
        let info = self.request_info(None);
        self.settings.notify(|observer| match self.subject {
            Subject::Handshake | Subject::Reattachment => {
                observer.handshake_rejected(&info, error);
            }
            Subject::Request => observer.request_rejected(&info, error),
        });
    }

    /// Reports an upstream that could not be reached, broke the handshake, or took too long.
    pub(super) fn failed(&self, attempt: &Attempt, error: &Error) {
        self.record_failure(attempt, error);
        tracing::debug!(
            upstream = %Escaped(attempt.upstream()),
            attempt = attempt.number,
            error = %Escaped(format_args!("{error:#}")),
            "the attempt failed",
        );
        let info = self.request_info(Some(attempt));
        self.settings.notify(|observer| match self.subject {
            Subject::Handshake | Subject::Reattachment => {
                observer.handshake_failed(&info, error);
            }
            Subject::Request => observer.request_failed(&info, error),
        });
    }

    /// Reports an attempt at another upstream.
    pub(super) fn retried(&self, attempt: &Attempt) {
        attempt.lease.member().event_counters().retry();
        tracing::debug!(
            upstream = %Escaped(attempt.upstream()),
            attempt = attempt.number,
            "trying another upstream"
        );
        let (info, number) = (self.request_info(Some(attempt)), attempt.number);
        self.settings.notify(|observer| match self.subject {
            Subject::Handshake | Subject::Reattachment => {
                observer.handshake_retried(&info, number);
            }
            Subject::Request => observer.request_retried(&info, number),
        });
    }

    /// Reports a refusal by an upstream.
    pub(super) fn refused(&self, attempt: &Attempt, status: StatusCode) {
        if self.subject == Subject::Request {
            return self.responded(attempt, status);
        }
        self.report_health(attempt, HealthEventKind::Refused { status });
        tracing::debug!(%status, "handshake refused by the upstream");
        let info = self.request_info(Some(attempt));
        self.settings
            .notify(|observer| observer.handshake_refused(&info, status));
    }

    /// Reports an accepted handshake.
    pub(super) fn accepted(&self, attempt: &Attempt) {
        let latency = attempt.started_at.elapsed();
        self.report_health(attempt, HealthEventKind::Accepted { latency });
        tracing::debug!("handshake accepted");
        if self.subject == Subject::Reattachment {
            // The session reports the reattached tunnel; there is no client that waits for a 101.
            return;
        }
        let info = self.request_info(Some(attempt));
        self.settings
            .notify(|observer| observer.handshake_accepted(&info));
    }

    /// Reports an upstream's response to a forwarded request.
    pub(super) fn responded(&self, attempt: &Attempt, status: StatusCode) {
        self.report_health(attempt, HealthEventKind::Forwarded { status });
        tracing::debug!(%status, "response from the upstream");
        let info = self.request_info(Some(attempt));
        self.settings
            .notify(|observer| observer.request_responded(&info, status));
    }

    /// Logs the response that a client of this version gets, and records it in the span.
    pub(super) fn log_response<B>(&self, response: &Response<B>, version: Version) {
        let (subject, status) = (self.subject.name(), response.status());
        // The duration is computed only where the line is logged.
        let duration = || self.started_at.elapsed().as_secs_f64();
        let error = response.extensions().get::<Error>();
        record_response(status, error);
        match error {
            Some(error) => tracing::info!(
                "wsplice.duration" = duration(),
                "error.message" = %Escaped(format_args!("{error:#}")),
                "{subject} failed"
            ),
            None => tracing::info!(
                "wsplice.duration" = duration(),
                "{subject} {}",
                self.subject.outcome(status, version)
            ),
        }
    }

    /// Records a failure at the upstream.
    ///
    /// A late attempt that the overall timeout cut short had less than its own time, so it does not
    /// count against the upstream.
    fn record_failure(&self, attempt: &Attempt, error: &Error) {
        if error.kind() == ErrorKind::AttemptsTimeout && attempt.number > 1 {
            return;
        }
        attempt.lease.record_failure(error, attempt.started_at);
    }

    fn report_health(&self, attempt: &Attempt, kind: HealthEventKind) {
        attempt.lease.record_event(Some(kind), attempt.started_at);
    }

    fn request_info<'a>(&'a self, attempt: Option<&'a Attempt>) -> RequestInfo<'a> {
        RequestInfo {
            path: &self.path,
            upstream: attempt.map(Attempt::upstream),
            elapsed: self.started_at.elapsed(),
            connect: attempt.and_then(|attempt| attempt.connect),
        }
    }
}
