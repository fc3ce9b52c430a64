//! Placeholder for the exchange over HTTP/2 in builds without that feature.

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

use super::{HeadLimits, UpgradeResponse};

/// Body of a response over HTTP/2, which cannot exist.
pub(crate) enum Http2RefusalBody {}

pub(super) async fn exchange(
    slot: StreamSlot,
    _dialer: &Dialer,
    _request: &Request<Empty<Bytes>>,
    _limits: HeadLimits,
    _body_timeout: Duration,
) -> Result<UpgradeResponse, Error> {
    match slot {}
}

impl http_body::Body for Http2RefusalBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match *self {}
    }
}
