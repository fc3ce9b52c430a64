//! Signals: Ctrl-C and SIGTERM stop the gateway, SIGHUP reloads the certificate.

use std::io;

use tokio::sync::mpsc;

/// Receives a value for each Ctrl-C or SIGTERM. From here on these signals no longer end the process
/// by themselves.
///
/// # Errors
///
/// The operating system does not let the process handle signals.
#[cfg(unix)]
pub(crate) fn stop() -> io::Result<mpsc::Receiver<()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Receives a value for each Ctrl-C.
///
/// # Errors
///
/// None: the signature is that of Unix.
#[cfg(not(unix))]
pub(crate) fn stop() -> io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).await.is_ok() {}
    });
    Ok(receiver)
}

/// Receives a value for each SIGHUP. From here on the signal no longer ends the process by itself.
///
/// # Errors
///
/// The operating system does not let the process handle signals.
#[cfg(unix)]
pub(crate) fn reload() -> io::Result<mpsc::Receiver<()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(
        async move { while hangup.recv().await.is_some() && sender.send(()).await.is_ok() {} },
    );
    Ok(receiver)
}

/// Receives nothing: there is no such signal here.
///
/// # Errors
///
/// None: the signature is that of Unix.
#[cfg(not(unix))]
pub(crate) fn reload() -> io::Result<mpsc::Receiver<()>> {
    Ok(mpsc::channel(1).1)
}
