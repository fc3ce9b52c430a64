//! From the first connection to the last.

use std::io;
use std::time::Duration;

use axum::Router;
use tokio::sync::mpsc;
use tokio::time::timeout;
use wsplice::Drain;

use crate::listener::Door;
use crate::shutdown::{Phase, phases};
use crate::workers::Crew;

/// How the gateway came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Connections were closed, or cut off when the drain timeout was over.
    InOrder,
    /// It was told to stop a second time, and left everything as it stood.
    AtOnce,
}

/// Serves on so many threads, until `stops` says so, then ends what is open; a second stop ends
/// that.
///
/// # Errors
///
/// When a thread cannot be had, or ended before it should.
pub(crate) async fn serve(
    threads: Vec<Vec<Door>>,
    app: Router,
    drain: Drain,
    drain_timeout: Duration,
    mut stops: mpsc::Receiver<()>,
) -> io::Result<Stopped> {
    let (phase, heard) = phases();
    let mut crew = Crew::start(threads, &app, &heard)?;
    drop((app, heard));
    tokio::select! {
        () = crew.answered() => {
            phase.send_replace(Phase::Over);
            crew.end().await?;
            return Err(io::Error::other("nobody serves any more"));
        }
        _ = stops.recv() => {}
    }

    tracing::info!("stopping; once more stops at once");
    phase.send_replace(Phase::Stopping);
    // The threads wait for plain requests and have forgotten the WebSocket connections, which the
    // drain remembers.
    let ending = async { tokio::join!(timeout(drain_timeout, crew.answered()), drain.run()) };
    let stopped = tokio::select! {
        (answered, drained) = ending => {
            let (closed, aborted) = (drained.closed, drained.aborted);
            let all_answered = answered.is_ok();
            tracing::info!(closed, aborted, all_answered, "stopped");
            Stopped::InOrder
        }
        _ = stops.recv() => {
            tracing::warn!("stopped at once");
            Stopped::AtOnce
        }
    };
    phase.send_replace(Phase::Over);
    crew.end().await?;
    Ok(stopped)
}
