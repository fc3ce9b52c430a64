//! Group of the tunnels of one owner.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::lock::lock;

use super::entry::Entry;

/// Open tunnels that belong together, such as those of one upstream, across registries.
///
/// Closing a group visits its tunnels alone, not every tunnel of the proxy.
#[derive(Default)]
pub(crate) struct TunnelGroup {
    slots: Mutex<Slots>,
}

/// A table whose free slots are used again.
#[derive(Default)]
struct Slots {
    entries: Vec<Option<Arc<Entry>>>,
    free: Vec<u32>,
}

impl TunnelGroup {
    /// The group's tunnels at this moment.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.slots().entries.iter().flatten().cloned().collect()
    }

    /// Adds a tunnel, which is removed by the slot that it gets.
    pub(super) fn add(&self, entry: &Arc<Entry>) -> u32 {
        let mut slots = self.slots();
        if let Some(slot) = slots.free.pop() {
            slots.entries[slot as usize] = Some(Arc::clone(entry));
            return slot;
        }
        slots.entries.push(Some(Arc::clone(entry)));
        // A process has far fewer descriptors than this, and a tunnel needs two.
        u32::try_from(slots.entries.len() - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn remove(&self, slot: u32) {
        let mut slots = self.slots();
        if let Some(entry) = slots.entries.get_mut(slot as usize) {
            *entry = None;
            slots.free.push(slot);
        }
        if slots.free.len() == slots.entries.len() {
            *slots = Slots::default();
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        lock(&self.slots)
    }
}

impl fmt::Debug for TunnelGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots = self.slots();
        f.debug_struct("TunnelGroup")
            .field("open", &(slots.entries.len() - slots.free.len()))
            .finish_non_exhaustive()
    }
}
