//! Placeholder for the exchange in builds without HTTP/2.

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;

use crate::{
    error::Error,
    http::handshake::upstream_response::UpgradeResponse,
    http::relay::HeadLimits,
    net::connect::{Dialer, StreamSlot},
};

pub(crate) async fn exchange(
    slot: StreamSlot,
    _dialer: &Dialer,
    _request: &Request<Empty<Bytes>>,
    _limits: HeadLimits,
) -> Result<UpgradeResponse, Error> {
    match slot {}
}
