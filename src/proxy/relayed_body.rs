//! The body of an upstream's answer, with all that accounts for it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{error::Error, http::forward::DownloadBody, tunnel::drain::Exchange};

use super::{attempt::Attempt, event_reporter::Teller};

/// The answer to a forwarded request on its way to the client.
pub(super) struct Relayed {
    download: DownloadBody,
    account: Option<Account>,
}

/// What an exchange is counted by, until its answer has ended.
pub(super) struct Account {
    pub(super) teller: Arc<Teller>,
    pub(super) attempt: Attempt,
    pub(super) exchange: Exchange,
}

impl Relayed {
    pub(super) const fn new(download: DownloadBody, account: Option<Account>) -> Self {
        Self { download, account }
    }
}

impl Account {
    /// Tells that the answer broke off, unless it was broken off here.
    fn broken(self, error: &Error) {
        if !self.exchange.is_cut() {
            self.teller.failed(&self.attempt, error);
        }
    }
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = Pin::new(&mut self.download).poll_frame(cx);
        match &frame {
            Poll::Ready(None) => self.account = None,
            Poll::Ready(Some(Err(error))) => {
                if let Some(account) = self.account.take() {
                    account.broken(error);
                }
            }
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.download.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.download.size_hint()
    }
}
