//! The future of the service's responses.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;

use crate::http::relay::RelayedBody;

use super::body::ResponseBody;

pin_project! {
    /// Future of the inner service's response, or of the proxy's.
    ///
    /// # Cancellation
    ///
    /// Dropping this future before it is ready abandons the handshake: the connection to the
    /// upstream is closed, whether it is established or not.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        kind: ResponseFutureKind<F>,
    }
}

type Pipeline = Pin<Box<dyn Future<Output = Response<RelayedBody>> + Send>>;

pin_project! {
    #[project = KindProj]
    enum ResponseFutureKind<F> {
        Inner { #[pin] future: F },
        Pipeline { future: Pipeline },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) const fn inner(future: F) -> Self {
        Self {
            kind: ResponseFutureKind::Inner { future },
        }
    }

    pub(super) fn pipeline(
        future: impl Future<Output = Response<RelayedBody>> + Send + 'static,
    ) -> Self {
        Self {
            kind: ResponseFutureKind::Pipeline {
                future: Box::pin(future),
            },
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Inner { future } => {
                let response = ready!(future.poll(cx))?;
                Poll::Ready(Ok(response.map(ResponseBody::inner)))
            }
            KindProj::Pipeline { future } => {
                let response = ready!(future.as_mut().poll(cx));
                Poll::Ready(Ok(response.map(ResponseBody::proxy)))
            }
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
