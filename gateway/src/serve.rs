//! The gateway's run: workers serve until a stop signal, then the gateway drains.

use std::io;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use wsplice::Drain;

use crate::connection::Serving;
use crate::listener::Listener;
use crate::service_manager;
use crate::shutdown::{self, Phase};
use crate::workers::Workers;

/// Bound on the time in which connections that were accepted before the stop signal get their first
/// response. Without that time a client that had just connected would find its handshake refused.
const LAST_ARRIVALS: Duration = Duration::from_secs(1);

/// How the gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Connections were closed, or were aborted when the drain timeout had passed.
    Drained,
    /// A second stop signal ended the drain.
    Forced,
}

/// Serves the listeners with one worker for each element of `workers`. The first stop signal closes
/// the listeners and starts the drain, which takes at most `drain_timeout`; the second one ends it.
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
    service_manager::ready();
    tokio::select! {
        () = workers.drained() => {
            phase.send_replace(Phase::Stopped);
            workers.join().await?;
            return Err(io::Error::other("all workers have ended"));
        }
        _ = stop_signals.recv() => {}
    }

    tracing::info!("stopping; a second signal stops at once");
    service_manager::stopping();
    let stopping = stop(&mut workers, &phase, &drain, drain_timeout);
    let exit = tokio::select! {
        () = stopping => Exit::Drained,
        _ = stop_signals.recv() => {
            tracing::warn!("stopped at once");
            Exit::Forced
        }
    };
    phase.send_replace(Phase::Stopped);
    workers.join().await?;
    Ok(exit)
}

/// Closes the listeners, waits for the connections that they accepted last, and drains.
async fn stop(
    workers: &mut Workers,
    phase: &watch::Sender<Phase>,
    drain: &Drain,
    drain_timeout: Duration,
) {
    phase.send_replace(Phase::Closed);
    let _ = timeout(LAST_ARRIVALS.min(drain_timeout), workers.arrived()).await;
    phase.send_replace(Phase::Draining);
    // Workers wait for plain requests only: upgraded connections belong to the drain.
    let (requests, tunnels) = tokio::join!(timeout(drain_timeout, workers.drained()), drain.run());
    let (closed, aborted) = (tunnels.closed, tunnels.aborted);
    let requests_finished = requests.is_ok();
    tracing::info!(closed, aborted, requests_finished, "stopped");
}
