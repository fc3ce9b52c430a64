//! From the first connection to the last.

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use wsplice::Drain;

/// How the gateway came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Connections were closed, or cut off when the drain timeout was over.
    InOrder,
    /// It was told to stop a second time, and left everything as it stood.
    AtOnce,
}

/// Serves until `stops` says so, then ends what is open; a second stop ends that.
///
/// # Errors
///
/// When the listener fails for good.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    drain: Drain,
    drain_timeout: Duration,
    mut stops: mpsc::Receiver<()>,
) -> io::Result<Stopped> {
    let (stop, stopping) = oneshot::channel::<()>();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, app).with_graceful_shutdown(async {
        let _ = stopping.await;
    });
    let mut serving = pin!(serving.into_future());
    tokio::select! {
        served = &mut serving => return served.map(|()| Stopped::InOrder),
        _ = stops.recv() => {}
    }

    tracing::info!("stopping; once more stops at once");
    drop(stop);
    // The server waits for plain requests and has forgotten the WebSocket connections, which the
    // drain remembers.
    let ending = async { tokio::join!(timeout(drain_timeout, serving), drain.run()) };
    tokio::select! {
        (served, drained) = ending => {
            let (closed, aborted) = (drained.closed, drained.aborted);
            let all_answered = served.is_ok();
            tracing::info!(closed, aborted, all_answered, "stopped");
            Ok(Stopped::InOrder)
        }
        _ = stops.recv() => {
            tracing::warn!("stopped at once");
            Ok(Stopped::AtOnce)
        }
    }
}
