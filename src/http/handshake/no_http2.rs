//! What stands in for the exchange over HTTP/2 where it is not compiled in.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::Empty;

use crate::{
    error::{BoxError, Error},
    net::connect::{Dialer, StreamSlot},
};

use super::{Answer, HeadLimits};

/// The body of an answer that nobody gives.
pub(crate) enum Body {}

pub(super) async fn exchange(
    place: StreamSlot,
    _dial: &Dialer,
    _request: &Request<Empty<Bytes>>,
    _limits: HeadLimits,
    _body_timeout: Duration,
) -> Result<Answer, Error> {
    match place {}
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match *self {}
    }
}
