//! Guard of an exchange, up to the end of its response.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};

use crate::{
    error::{Error, ErrorKind, Side},
    http::forward::{Http1Connection, ReuseTarget},
    http::relay::{self, Relay, RelayEntry, ResponseLength},
    tunnel::registry::InFlightRequest,
};

use super::{attempt::Attempt, event_reporter::EventReporter};

/// Guard of an exchange: its connection, if other requests may use it later, its lease, and its place
/// in the drain.
pub(super) struct ExchangeGuard {
    /// Before the lease, which counts until the connection is closed.
    pub(super) connection: Option<(Http1Connection, Option<ReuseTarget>)>,
    pub(super) reporter: Arc<EventReporter>,
    pub(super) attempt: Attempt,
    pub(super) in_flight: Arc<InFlightRequest>,
    pub(super) length: ResponseLength,
    /// Place among the responses of the upstream, during the relay.
    pub(super) entry: Option<RelayEntry>,
}

/// Returns whether a response with this head ends by itself.
pub(super) fn length_of(headers: &HeaderMap) -> ResponseLength {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let media_type = value.and_then(|value| value.split(|byte| *byte == b';').next());
    match media_type.map(<[u8]>::trim_ascii) {
        Some(media_type) if media_type.eq_ignore_ascii_case(b"text/event-stream") => {
            ResponseLength::Endless
        }
        _ => ResponseLength::Finite,
    }
}

impl relay::ExchangeGuard for ExchangeGuard {
    fn begin(&mut self, relay: &Arc<Relay>) {
        self.entry = Some(self.attempt.lease.enter_response(relay, self.length));
    }

    fn completed(mut self: Box<Self>) {
        if let Some((connection, Some(target))) = self.connection.take() {
            let address = self.attempt.lease.member().upstream().address();
            target.keep(address, connection);
        }
    }

    fn failed(self: Box<Self>, error: &Error) {
        // A drain, of the proxy or of the upstream, is no failure.
        if self.in_flight.is_cut() || error.kind() == ErrorKind::Draining {
            return;
        }
        match error.side() {
            Side::Upstream => self.reporter.failed(&self.attempt, error),
            Side::Client | Side::Proxy => self.reporter.rejected(error),
        }
    }
}
