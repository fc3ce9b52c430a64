//! The final response of an upstream to a handshake.

use bytes::Bytes;
use http::{Response, response};

use crate::{http::relay::Source, net::transport::Transport};

/// The upstream's final response to a handshake.
pub(crate) enum UpgradeResponse {
    /// An acceptance that is not verified yet (101, or any 2xx over HTTP/2), with the byte stream
    /// and the bytes read after the head.
    Accepted {
        head: response::Parts,
        transport: Transport,
        read_ahead: Bytes,
    },
    /// Any other response. Its body owns the connection, or the stream.
    Refused(Response<Source>),
}
