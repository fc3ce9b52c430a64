//! Service manager: systemd learns when the gateway serves and when it stops (`Type=notify`). Without
//! the variable `NOTIFY_SOCKET`, and on other systems, nothing is sent.

/// Reports that the gateway serves. Connections were accepted by the kernel before, if the listeners
/// are those of a `.socket` unit.
pub(crate) fn ready() {
    #[cfg(target_os = "linux")]
    notify(&[sd_notify::NotifyState::Ready]);
}

/// Reports that the gateway stops: it accepts no more connections and drains.
pub(crate) fn stopping() {
    #[cfg(target_os = "linux")]
    notify(&[sd_notify::NotifyState::Stopping]);
}

#[cfg(target_os = "linux")]
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be notified");
    }
}
