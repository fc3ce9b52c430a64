//! Placeholder for the exchange in builds without HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;

use crate::{
    error::Error,
    http::handshake::{head_limits::HeadLimits, upstream_response::UpgradeResponse},
    net::connect::{Dialer, StreamSlot},
};

pub(crate) async fn exchange(
    slot: StreamSlot,
    _dialer: &Dialer,
    _request: &Request<Empty<Bytes>>,
    _limits: HeadLimits,
    _body_timeout: Duration,
) -> Result<UpgradeResponse, Error> {
    match slot {}
}
