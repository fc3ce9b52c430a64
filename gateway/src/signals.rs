//! Ctrl-C, SIGTERM and SIGHUP.

use std::io;

use tokio::sync::mpsc;

/// A value for each time the program is asked to stop: Ctrl-C or SIGTERM.
///
/// From here on the signals no longer end the program by themselves.
///
/// # Errors
///
/// When the operating system does not let the program listen for them.
#[cfg(unix)]
pub(crate) fn stops() -> io::Result<mpsc::Receiver<()>> {
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

/// A value for each time the program is asked to stop by Ctrl-C.
#[cfg(not(unix))]
pub(crate) fn stops() -> io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).await.is_ok() {}
    });
    Ok(receiver)
}

/// A value for each time the program is asked to read its files again: SIGHUP.
///
/// # Errors
///
/// When the operating system does not let the program listen for it.
#[cfg(unix)]
pub(crate) fn reloads() -> io::Result<mpsc::Receiver<()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(
        async move { while hangup.recv().await.is_some() && sender.send(()).await.is_ok() {} },
    );
    Ok(receiver)
}

/// Nobody can ask.
#[cfg(not(unix))]
pub(crate) fn reloads() -> io::Result<mpsc::Receiver<()>> {
    Ok(mpsc::channel(1).1)
}
