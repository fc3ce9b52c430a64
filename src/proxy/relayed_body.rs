//! The body of a relayed response, with the resources of its exchange.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    error::{Error, Side},
    http::forward::DownloadBody,
    tunnel::registry::InFlightRequest,
};

use super::{attempt::Attempt, event_reporter::EventReporter};

/// Body of the response to a forwarded request.
pub(super) struct RelayedBody {
    body: DownloadBody,
    guard: Option<ExchangeGuard>,
}

/// Guard of an exchange, which holds its lease and its place in the drain until the response has
/// ended.
pub(super) struct ExchangeGuard {
    pub(super) reporter: Arc<EventReporter>,
    pub(super) attempt: Attempt,
    pub(super) in_flight: InFlightRequest,
}

impl RelayedBody {
    pub(super) const fn new(body: DownloadBody, guard: Option<ExchangeGuard>) -> Self {
        Self { body, guard }
    }
}

impl ExchangeGuard {
    /// Reports that the exchange failed after the response had begun, unless the drain aborted it.
    fn report_failure(self, error: &Error) {
        if self.in_flight.is_cut() {
            return;
        }
        match error.side() {
            Side::Client => self.reporter.rejected(error),
            Side::Upstream | Side::Proxy => self.reporter.failed(&self.attempt, error),
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
