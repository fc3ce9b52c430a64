//! The driver of a response: it reads ahead, and watches the clocks.

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use tokio::{sync::watch, time::Instant};

use crate::{
    alarm::Alarm,
    error::{Error, ErrorKind},
    task,
};

use super::{
    body::RelayedBody,
    clocks::RelayLimits,
    exchange::{ExchangeGuard, Look, Relay, Source},
};

/// Number of bytes of a refusal that are read whether the client reads them or not.
const READ_AHEAD: usize = 64 * 1024;

/// Driver of one response. It has no share in the response, which ends with its body.
struct Driver {
    relay: Weak<Relay>,
    alarm: Alarm,
}

/// End of a driver's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The upstream's part ended, or the client went away.
    Over,
    /// The response was broken off.
    Failed,
}

impl Driver {
    fn new(relay: Weak<Relay>) -> Self {
        Self {
            relay,
            alarm: Alarm::default(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let Some(relay) = self.relay.upgrade() else {
                return Poll::Ready(End::Over);
            };
            let next = match relay.look(cx, Instant::now()) {
                Look::Over => return Poll::Ready(End::Over),
                Look::Failed => return Poll::Ready(End::Failed),
                Look::Next(None) => return Poll::Pending,
                Look::Next(Some(next)) => next,
            };
            ready!(self.alarm.poll_until(cx, next));
        }
    }
}

/// Breaks a response off because of a drain.
pub(crate) fn cut(relay: &Weak<Relay>) {
    if let Some(relay) = relay.upgrade() {
        relay.cut(Error::new(ErrorKind::Draining));
    }
}

/// Relays a refusal.
///
/// The part that has come is read now; of the rest, a task reads up to 64 KiB ahead, so that the
/// exchange with the upstream need not wait for the client.
pub(crate) async fn start(
    source: Source,
    limits: RelayLimits,
    guard: Option<Box<dyn ExchangeGuard>>,
    cuts: Option<watch::Receiver<u64>>,
) -> RelayedBody {
    let relay = Relay::new(source, limits, READ_AHEAD);
    let body = RelayedBody::under_way(Arc::clone(&relay), guard);
    let mut driver = Driver::new(Arc::downgrade(&relay));
    match poll_fn(|cx| Poll::Ready(driver.poll(cx))).await {
        Poll::Ready(End::Over) => return RelayedBody::read(&relay),
        Poll::Ready(End::Failed) => {}
        Poll::Pending => {
            task::spawn(drive(driver, cuts));
        }
    }
    body
}

async fn drive(mut driver: Driver, cuts: Option<watch::Receiver<u64>>) {
    let mut is_cut = pin!(async {
        match cuts {
            Some(mut cuts) => drop(cuts.changed().await),
            None => pending().await,
        }
    });
    let is_cut = poll_fn(|cx| {
        if is_cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        driver.poll(cx).map(|_| false)
    })
    .await;
    if is_cut {
        cut(&driver.relay);
    }
}

#[cfg(test)]
mod tests;
