//! How a tunnel gets into a part of a registry.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    error::Side,
    lock::lock,
    task,
    tunnel::info::TunnelInfo,
    tunnel::report::{Timer, TunnelEnd},
};

use super::{
    command::{Command, Revocable},
    deadlines::WatchState,
    entry::Entry,
    group::TunnelGroup,
    guard::RegistryGuard,
    part::Part,
    shared::Shared,
};

/// Lists a tunnel, also among those of its owner, until the guard is dropped. It gets a number.
///
/// While the registry is being drained, the tunnel is closed at once: the drain may have begun
/// during the tunnel's handshake.
pub(super) fn enter(
    part: &Arc<Part>,
    owner: Option<&Arc<TunnelGroup>>,
    mut info: TunnelInfo,
) -> RegistryGuard {
    let shared = part.shared();
    let id = lock(&shared.ids).next();
    info.id = id;
    let entry = Arc::new(Entry::new(info));
    if let Some(group) = owner {
        entry.set_slot(group.add(&entry));
    }
    part.table().insert(&entry);
    if let Some(frame) = shared.drain.close_frame() {
        let close = Command::Close {
            frame,
            end: TunnelEnd::Drained,
            at: None,
            until: None,
        };
        entry.send_revocable(close, Revocable::ByResume);
        // A resume in between has found nothing to call off.
        if !shared.drain.is_draining() {
            entry.cancel_revocable(Revocable::ByResume);
        }
    }
    if let Some(at) = entry.info().deadline() {
        watch_deadline(shared, at, id);
    }
    RegistryGuard::listed(Arc::clone(part), owner.cloned(), entry)
}

/// Has the tunnel closed at its deadline.
fn watch_deadline(shared: &Arc<Shared>, at: Instant, id: u64) {
    if shared.deadlines.add(at, id) == WatchState::Running {
        return;
    }
    let shared = Arc::clone(shared);
    task::spawn(async move {
        let close = |id| {
            if let Some(entry) = shared.tables.get(id) {
                entry.send_command(Command::Close {
                    frame: entry.info().deadline_frame(),
                    end: TunnelEnd::Timeout(Timer::Deadline, Side::Proxy),
                    at: None,
                    until: None,
                });
            }
        };
        shared.deadlines.watch(close).await;
    });
}
