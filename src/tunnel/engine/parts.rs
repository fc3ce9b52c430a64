//! The parts that a tunnel is made of.

use bytes::Bytes;

use crate::{frame::Extensions, net::transport::Transport};

/// The parts of a tunnel.
pub(crate) struct TunnelParts {
    pub(crate) client: Transport,
    pub(crate) client_read_ahead: Bytes,
    pub(crate) upstream: Transport,
    pub(crate) upstream_read_ahead: Bytes,
    pub(crate) extensions: Extensions,
}
