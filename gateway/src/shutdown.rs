//! Shutdown: the phases in which the gateway ends, as every worker sees them.

use std::pin::Pin;

use tokio::sync::watch;

/// Phase of the gateway's life. Phases follow one another in this order and never go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// Listeners accept no more connections; those that were accepted last still get their first
    /// response.
    Closed,
    /// Requests in flight get their responses, and connections are closed.
    Draining,
    /// Workers end, whatever is still open.
    Stopped,
}

/// Receiver of the gateway's phase. Each worker, listener and connection has a clone.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown(watch::Receiver<Phase>);

/// Wait of one connection for the drain. All phases of the connection share it, since each wait takes and
/// returns a place in a list that all connections use.
pub(crate) type Draining<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send + 'a)>;

/// Creates the sender of phases, and the first receiver. The phase is [`Phase::Serving`].
pub(crate) fn channel() -> (watch::Sender<Phase>, Shutdown) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (sender, Shutdown(receiver))
}

impl Shutdown {
    /// Waits until listeners must accept no more connections.
    pub(crate) async fn closed(&mut self) {
        self.reached(Phase::Closed).await;
    }

    /// Waits until the gateway drains, or has stopped.
    pub(crate) async fn draining(&mut self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until the gateway has stopped.
    pub(crate) async fn stopped(&mut self) {
        self.reached(Phase::Stopped).await;
    }

    async fn reached(&mut self, phase: Phase) {
        // An error means that the sender was dropped, and so that the gateway has stopped.
        let _ = self.0.wait_for(|current| *current >= phase).await;
    }
}
