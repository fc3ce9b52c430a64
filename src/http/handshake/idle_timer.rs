//! Idle timeout of a response body.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep};

use crate::{error::BoxError, instant::saturating_add};

/// Timer that runs while an upstream sends nothing.
///
/// The timer is polled only with the body, so that a client that is slow to read does not make the
/// upstream late.
pub(super) struct IdleTimer {
    timeout: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl IdleTimer {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            sleep: Box::pin(sleep(timeout)),
        }
    }

    /// Returns the polled frame, or an error if none came in time.
    pub(super) fn poll<E: Into<BoxError>>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<Option<Result<Frame<Bytes>, E>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = polled {
            let deadline = saturating_add(Instant::now(), self.timeout);
            self.sleep.as_mut().reset(deadline);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.sleep.as_mut().poll(cx));
        Poll::Ready(Some(Err(
            "the upstream stopped in the middle of its response".into(),
        )))
    }
}
