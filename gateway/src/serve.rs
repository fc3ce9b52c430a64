//! The gateway's run: workers serve until a stop signal, then the gateway drains.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use wsplice::Drain;

use crate::connection::Serving;
use crate::listener::Listener;
use crate::shutdown::{self, Phase};
use crate::workers::Workers;

/// How the gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Connections were closed, or were aborted when the drain timeout had passed.
    Drained,
    /// A second stop signal ended the drain.
    Forced,
}

/// Serves the listeners with one worker for each element of `workers`. The first stop signal starts
/// the drain, which takes at most `drain_timeout`; the second one ends it.
///
/// # Errors
///
/// A worker's thread or runtime cannot be created, or all workers ended before a stop signal.
pub(crate) async fn serve(
    workers: Vec<Vec<Listener>>,
    serving: Serving,
    drain: Drain,
    drain_timeout: Duration,
    mut stop_signals: mpsc::Receiver<()>,
) -> io::Result<Exit> {
    let (phase, shutdown) = shutdown::channel();
    let mut workers = Workers::start(workers, &serving, &shutdown)?;
    drop((serving, shutdown));
    tokio::select! {
        () = workers.drained() => {
            phase.send_replace(Phase::Stopped);
            workers.join().await?;
            return Err(io::Error::other("all workers have ended"));
        }
        _ = stop_signals.recv() => {}
    }

    tracing::info!("stopping; a second signal stops at once");
    phase.send_replace(Phase::Draining);
    // Workers wait for plain requests only: upgraded connections belong to the drain.
    let draining = async { tokio::join!(timeout(drain_timeout, workers.drained()), drain.run()) };
    let exit = tokio::select! {
        (requests, tunnels) = draining => {
            let (closed, aborted) = (tunnels.closed, tunnels.aborted);
            let requests_finished = requests.is_ok();
            tracing::info!(closed, aborted, requests_finished, "stopped");
            Exit::Drained
        }
        _ = stop_signals.recv() => {
            tracing::warn!("stopped at once");
            Exit::Forced
        }
    };
    phase.send_replace(Phase::Stopped);
    workers.join().await?;
    Ok(exit)
}
