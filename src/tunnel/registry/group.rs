//! Group of the tunnels of one owner.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use crate::{lock::lock, slots::Slots};

use super::entry::Entry;

/// Open tunnels that belong together, such as those of one upstream, across registries.
///
/// Closing a group visits its tunnels alone, not every tunnel of the proxy.
#[derive(Default)]
pub(crate) struct TunnelGroup(Mutex<Slots<Arc<Entry>>>);

impl TunnelGroup {
    /// The group's tunnels at this moment.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        lock(&self.0).iter().cloned().collect()
    }

    /// Adds a tunnel, which is removed by the slot that it gets.
    pub(super) fn add(&self, entry: &Arc<Entry>) -> u32 {
        lock(&self.0).add(Arc::clone(entry))
    }

    pub(super) fn remove(&self, slot: u32) {
        lock(&self.0).remove(slot);
    }
}

impl fmt::Debug for TunnelGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelGroup")
            .field("open", &lock(&self.0).len())
            .finish_non_exhaustive()
    }
}
