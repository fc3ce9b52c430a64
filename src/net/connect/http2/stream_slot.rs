//! Stream slot on a shared connection, and the stream that is opened in it.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use h2::{
    Reason, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{Request, uri::Scheme};

use super::{
    connection::{Connection, StreamGuard},
    peer::Peer,
};

/// Slot for a stream that is not open yet.
pub(crate) struct StreamSlot {
    sender: SendRequest<Bytes>,
    peer: Arc<Peer>,
    guard: StreamGuard,
}

/// A stream on which a request was sent.
pub(crate) struct Opened {
    pub(crate) response: ResponseFuture,
    pub(crate) sending: SendStream<Bytes>,
    pub(crate) guard: StreamGuard,
}

/// The connections to an upstream on which a request was tried.
#[derive(Debug)]
pub(crate) struct Tried {
    pub(super) peer: Arc<Peer>,
    pub(super) connections: Vec<Arc<Connection>>,
}

impl StreamSlot {
    /// Takes the slot of a stream on a connection to this upstream, if one is free.
    pub(super) fn take(connection: &Arc<Connection>, peer: &Arc<Peer>) -> Option<Self> {
        let (sender, guard) = connection.take()?;
        Some(Self {
            sender,
            peer: Arc::clone(peer),
            guard,
        })
    }

    /// `https` behind TLS, else `http` (RFC 8441 §5).
    pub(crate) fn scheme(&self) -> Scheme {
        self.guard.0.scheme.clone()
    }

    /// Sends a request, whose body is the bytes sent on the stream.
    ///
    /// # Errors
    ///
    /// The connection has ended meanwhile, or the request is not a valid one.
    pub(crate) fn open(mut self, request: Request<()>) -> Result<Opened, h2::Error> {
        let (response, sending) = self.sender.send_request(request, false)?;
        Ok(Opened {
            response,
            sending,
            guard: self.guard,
        })
    }
}

impl Tried {
    pub(crate) fn on(slot: &StreamSlot) -> Self {
        Self {
            peer: Arc::clone(&slot.peer),
            connections: vec![Arc::clone(&slot.guard.0)],
        }
    }

    pub(crate) fn add(&mut self, slot: &StreamSlot) {
        self.connections.push(Arc::clone(&slot.guard.0));
    }

    pub(crate) fn count(&self) -> usize {
        self.connections.len()
    }
}

/// Whether the upstream has certainly not processed the request that failed so, which is then
/// safe to send again on another connection (RFC 9113 §8.7).
pub(crate) fn is_unprocessed(error: &h2::Error) -> bool {
    // A GOAWAY of the upstream reaches only streams above its last (§6.8).
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

impl fmt::Debug for StreamSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StreamSlot").field(&self.guard.0).finish()
    }
}
