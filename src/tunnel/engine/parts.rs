//! The parts that a tunnel is made of.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    frame::{Extensions, Rsv},
    net::transport::Transport,
    tunnel::reattach::{Loss, Reattach, ReattachRefusal, Restoration, UpstreamContext},
};

/// The parts of a tunnel.
pub(crate) struct TunnelParts {
    pub(crate) client: Transport,
    pub(crate) client_read_ahead: Bytes,
    pub(crate) upstream: Transport,
    pub(crate) upstream_read_ahead: Bytes,
    pub(crate) extensions: Extensions,
    /// Present if the tunnel may get another upstream.
    pub(crate) reattach: Option<ReattachParts>,
}

/// Facts that reattachment depends on.
pub(crate) struct ReattachParts {
    pub(crate) settings: Arc<Reattach>,
    /// Why the agreement of the endpoints forbids another upstream, if it does.
    pub(crate) agreement: Option<ReattachRefusal>,
    /// The reserved bits that the agreement explains.
    pub(crate) reserved_bits: Rsv,
}

/// Search for another upstream of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// The tunnel needs none.
    None,
    /// The tunnel has lost its upstream.
    AfterLoss(Loss),
    /// The tunnel is to be moved. It has its upstream until another one accepts the handshake.
    Move,
    /// The upstream that was found is kept until the tunnel has left the one before.
    Over,
}

/// The next upstream of a tunnel.
pub(crate) struct NextUpstream {
    pub(crate) name: Arc<str>,
    pub(crate) transport: Transport,
    pub(crate) read_ahead: Bytes,
    /// Whether its compressed messages refer to earlier ones.
    pub(crate) context: UpstreamContext,
    /// What the host restores by.
    pub(crate) restoration: Restoration,
}
