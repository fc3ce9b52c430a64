//! The body that the client's server reads.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::error::Error;

use super::{
    exchange::{ExchangeGuard, ReadAhead, Relay},
    host_body::HostBody,
};

/// Body of a response to the client: a text of the proxy, or an upstream's response.
///
/// Dropping it before its end ends the exchange with the upstream.
pub(crate) struct RelayedBody(Kind);

enum Kind {
    /// Nothing is behind the body any more.
    Whole(ReadAhead),
    UnderWay(Arc<Relay>),
    /// The host's own.
    Host(HostBody),
}

impl RelayedBody {
    /// Body of these bytes.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(ReadAhead::from(bytes)))
    }

    /// Body that the host made.
    pub(crate) const fn of_host(body: HostBody) -> Self {
        Self(Kind::Host(body))
    }

    /// Body of a response whose upstream's part is over.
    pub(super) fn read(relay: &Relay) -> Self {
        Self(Kind::Whole(relay.take_whole()))
    }

    /// Body of a response under way, which the guard belongs to.
    pub(crate) fn under_way(relay: Arc<Relay>, guard: Option<Box<dyn ExchangeGuard>>) -> Self {
        if let Some(mut guard) = guard {
            guard.begin(&relay);
            relay.set_guard(guard);
        }
        Self(Kind::UnderWay(relay))
    }
}

impl Body for RelayedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Kind::Whole(rest) => Poll::Ready(rest.take().map(Ok)),
            Kind::UnderWay(relay) => relay.poll_frame(cx),
            Kind::Host(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(rest) => rest.is_empty(),
            Kind::UnderWay(relay) => relay.is_end_stream(),
            Kind::Host(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(rest) => rest.size_hint(),
            Kind::UnderWay(relay) => relay.size_hint(),
            Kind::Host(body) => body.size_hint(),
        }
    }
}

impl Drop for RelayedBody {
    fn drop(&mut self) {
        if let Kind::UnderWay(relay) = &self.0 {
            relay.close();
        }
    }
}

impl fmt::Debug for RelayedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Whole(_) => "RelayedBody::Whole",
            Kind::UnderWay(_) => "RelayedBody::UnderWay",
            Kind::Host(_) => "RelayedBody::Host",
        })
    }
}
