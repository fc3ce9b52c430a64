//! How far the gateway is on its way to the end, as told to all its threads.

use tokio::sync::watch;

/// How far the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// No new connections; requests under way are answered.
    Stopping,
    /// Nothing is waited for any more.
    Over,
}

/// Hears how far the gateway is.
#[derive(Clone, Debug)]
pub(crate) struct Phases(watch::Receiver<Phase>);

/// One who tells, and one of those who hear.
pub(crate) fn phases() -> (watch::Sender<Phase>, Phases) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (sender, Phases(receiver))
}

impl Phases {
    /// Waits until the gateway stops.
    pub(crate) async fn stopping(&mut self) {
        self.reached(Phase::Stopping).await;
    }

    /// Waits until nothing is waited for any more.
    pub(crate) async fn over(&mut self) {
        self.reached(Phase::Over).await;
    }

    async fn reached(&mut self, phase: Phase) {
        // Nobody there to tell any more: it is over.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}
