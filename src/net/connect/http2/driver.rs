//! Driver task of a shared connection.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::escaped::Escaped;
use crate::{instant::saturating_add, net::connect::address::Address, net::transport::Transport};

use super::{
    connection::Connection,
    pinging::{Due, Pinging},
    settings::Http2Connections,
};

/// The shortest time between two checks of the timers.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Time until the next check of a connection without timers.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(3600);

/// Future that moves a connection to its end: when it breaks, when it does not answer a PING, or
/// when its last opener and last stream are gone.
///
/// The driver does not keep the [`Connection`] alive. Dropping the driver breaks the connection.
pub(super) struct Driver {
    connection: h2::client::Connection<Transport, Bytes>,
    ping_pong: Option<PingPong>,
    pinging: Pinging,
    idle_timeout: Duration,
    openers: Weak<Connection>,
    /// Address of the upstream, for the logs.
    upstream: Box<str>,
    alarm: Pin<Box<Sleep>>,
}

impl Driver {
    pub(super) fn new(
        mut connection: h2::client::Connection<Transport, Bytes>,
        openers: &Arc<Connection>,
        settings: &Http2Connections,
        upstream: &Address,
        now: Instant,
    ) -> Self {
        Self {
            upstream: upstream.to_string().into(),
            ping_pong: connection.ping_pong(),
            connection,
            pinging: Pinging::new(settings.ping_interval, settings.ping_timeout, now),
            idle_timeout: settings.idle_timeout,
            openers: Arc::downgrade(openers),
            // Due at once: the first poll acts on the timers, and arms the alarm.
            alarm: Box::pin(sleep_until(now)),
        }
    }

    /// Notes the answer to a PING.
    fn note_pong(&mut self, cx: &mut Context<'_>) {
        let Some(ping_pong) = &mut self.ping_pong else {
            return;
        };
        if let Poll::Ready(Ok(_)) = ping_pong.poll_pong(cx) {
            self.pinging.answered(Instant::now());
        }
    }

    /// Acts on the timers that are due, and arms the alarm for the next.
    fn tick(&mut self, now: Instant) -> Due {
        let due = self.pinging.tick(now);
        if let (Due::Ping, Some(ping_pong)) = (due, &mut self.ping_pong) {
            // Sending fails on a connection that is over, which is about to report that itself.
            let _ = ping_pong.send_ping(Ping::opaque());
        }
        let next_check = match self.openers.upgrade() {
            Some(connection) => connection.close_if_idle(self.idle_timeout, now),
            None => saturating_add(now, MAX_CHECK_INTERVAL),
        };
        let next = self
            .pinging
            .due()
            .map_or(next_check, |at| at.min(next_check));
        self.alarm
            .as_mut()
            .reset(next.max(saturating_add(now, MIN_CHECK_INTERVAL)));
        due
    }

    /// Lets no more streams be opened.
    fn end(&self) {
        if let Some(connection) = self.openers.upgrade() {
            connection.close();
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            if let Poll::Ready(result) = Pin::new(&mut this.connection).poll(cx) {
                if let Err(error) = result {
                    tracing::debug!(upstream = %Escaped(&this.upstream), error = %Escaped(error), "a shared connection broke");
                }
                this.end();
                return Poll::Ready(());
            }
            this.note_pong(cx);
            ready!(this.alarm.as_mut().poll(cx));
            if this.tick(Instant::now()) == Due::Dead {
                tracing::warn!(upstream = %Escaped(&this.upstream), "a shared connection answers no PING");
                this.end();
                return Poll::Ready(());
            }
        }
    }
}
