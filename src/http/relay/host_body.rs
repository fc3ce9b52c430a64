//! Body of a response that the host made.

use std::{
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};

use crate::error::{BoxError, Error, ErrorKind};

/// Body of a response that the host made, of any type.
///
/// The lock is only reached through `&mut` while the body is read: it makes the body count as `Sync`.
pub(crate) struct HostBody(Mutex<UnsyncBoxBody<Bytes, BoxError>>);

impl HostBody {
    pub(crate) fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Mutex::new(body.map_err(Into::into).boxed_unsync()))
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        Pin::new(body).poll_frame(cx).map(|frame| {
            let failed = |error| Error::with_source(ErrorKind::NotAuthorized, error);
            frame.map(|frame| frame.map_err(failed))
        })
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        body.size_hint()
    }
}
