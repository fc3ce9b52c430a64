//! The exchange over HTTP/2 where that is not compiled in.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;

use crate::{
    error::Error,
    http::handshake::{answer::Answer, head_limits::HeadLimits},
    net::connect::{Dialer, StreamSlot},
};

pub(crate) async fn exchange(
    place: StreamSlot,
    _dial: &Dialer,
    _request: &Request<Empty<Bytes>>,
    _limits: HeadLimits,
    _body_timeout: Duration,
) -> Result<Answer, Error> {
    match place {}
}
