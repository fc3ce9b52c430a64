//! Guard of an exchange, up to the end of its response.

use std::sync::Arc;

use crate::{
    error::{Error, Side},
    http::forward::{Http1Connection, ReuseTarget},
    http::relay,
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
}

impl relay::ExchangeGuard for ExchangeGuard {
    fn completed(mut self: Box<Self>) {
        if let Some((connection, Some(target))) = self.connection.take() {
            target.keep(connection);
        }
    }

    fn failed(self: Box<Self>, error: &Error) {
        if self.in_flight.is_cut() {
            return;
        }
        match error.side() {
            Side::Upstream => self.reporter.failed(&self.attempt, error),
            Side::Client | Side::Proxy => self.reporter.rejected(error),
        }
    }
}
