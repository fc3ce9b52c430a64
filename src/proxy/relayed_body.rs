//! The body of an upstream's answer, with all that accounts for it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{error::Error, http::forward::DownloadBody, tunnel::drain::Exchange};

use super::{attempts::Attempt, event_reporter::EventReporter};

/// The answer to a forwarded request on its way to the client.
pub(super) struct RelayedBody {
    body: DownloadBody,
    guard: Option<ExchangeGuard>,
}

/// What an exchange is counted by, until its answer has ended.
pub(super) struct ExchangeGuard {
    pub(super) reporter: Arc<EventReporter>,
    pub(super) attempt: Attempt,
    pub(super) exchange: Exchange,
}

impl RelayedBody {
    pub(super) const fn new(body: DownloadBody, guard: Option<ExchangeGuard>) -> Self {
        Self { body, guard }
    }
}

impl ExchangeGuard {
    /// Tells that the answer broke off, unless it was report_failure off here.
    fn report_failure(self, error: &Error) {
        if !self.exchange.is_cut() {
            self.reporter.failed(&self.attempt, error);
        }
    }
}

impl Body for RelayedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Ready(None) => self.guard = None,
            Poll::Ready(Some(Err(error))) => {
                if let Some(guard) = self.guard.take() {
                    guard.report_failure(error);
                }
            }
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
