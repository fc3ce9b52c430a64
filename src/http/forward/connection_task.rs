//! The task of a connection to an upstream.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{sync::watch, time::Instant};

use crate::{
    alarm::Alarm,
    http::relay::{Look, Relay, cut},
    task,
};

use super::{
    activity::{Activity, SharedActivity},
    defer_write_errors::DeferWriteErrors,
    upload::UploadBody,
};

pub(super) type HyperConnection = http1::Connection<TokioIo<DeferWriteErrors>, UploadBody>;

/// Starts the task that drives a connection until it ends, its owner is dropped, its idle time is over,
/// a limit on the response is exceeded, or the close signal comes.
pub(super) fn start(
    connection: HyperConnection,
    activity: Arc<SharedActivity>,
    mut close_signal: watch::Receiver<u64>,
) {
    task::spawn(async move {
        let task = ConnectionTask {
            connection: Some(connection),
            activity,
            alarm: Alarm::default(),
            close_signal: pin!(close_signal.changed()),
        };
        task.await;
    });
}

struct ConnectionTask<S> {
    /// Dropped at its end, so that its owner sees that it is closed.
    connection: Option<HyperConnection>,
    activity: Arc<SharedActivity>,
    /// Armed for the earliest moment that any activity so far needed, until it fires.
    alarm: Alarm,
    close_signal: S,
}

impl<S: Future + Unpin> Future for ConnectionTask<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if Pin::new(&mut this.close_signal).poll(cx).is_ready() {
            if let Activity::Response(relay) = this.activity.look(cx.waker()) {
                cut(&relay);
            }
            return Poll::Ready(());
        }
        if let Some(connection) = &mut this.connection {
            if Pin::new(connection).poll(cx).is_ready() {
                this.connection = None;
            }
        }
        let polled = this.poll_activity(cx);
        if polled.is_pending() {
            this.activity.set_next_look(this.alarm.armed_for());
        }
        polled
    }
}

impl<S> ConnectionTask<S> {
    /// Ready once the connection is to be closed.
    fn poll_activity(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.activity.look(cx.waker()) {
                Activity::Over => return Poll::Ready(()),
                Activity::Exchange => return Poll::Pending,
                // The last bytes of a response may wait for the client when the connection has ended.
                Activity::Idle(_) if self.connection.is_none() => return Poll::Ready(()),
                Activity::Idle(until) => return self.alarm.poll_until(cx, until),
                Activity::Response(relay) => match check(&relay) {
                    Look::Failed => return Poll::Ready(()),
                    Look::Over | Look::Next(None) => return Poll::Pending,
                    Look::Next(Some(due)) => ready!(self.alarm.poll_until(cx, due)),
                },
            }
        }
    }
}

/// A response without a relay is over.
fn check(relay: &Weak<Relay>) -> Look {
    let relay = relay.upgrade();
    relay.map_or(Look::Over, |relay| relay.check(Instant::now()))
}
