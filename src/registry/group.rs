//! The tunnels of one owner.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, DefaultHasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::entry::Entry;

/// Open tunnels that belong together, whichever registries list them: those of one upstream.
///
/// Closing them costs a look at these alone, not at every tunnel of the proxy.
#[derive(Default)]
pub(crate) struct TunnelGroup {
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    last_number: u64,
    /// Hashed the same way in every run, so that a simulation can be repeated. The numbers are
    /// the group's own: no peer can choose them to collide.
    entries: HashMap<u64, Arc<Entry>, BuildHasherDefault<DefaultHasher>>,
}

impl TunnelGroup {
    /// The group's tunnels at this moment.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.members().entries.values().cloned().collect()
    }

    /// Adds a tunnel, which is removed by the number that it gets.
    pub(super) fn add(&self, entry: Arc<Entry>) -> u64 {
        let mut members = self.members();
        members.last_number += 1;
        let number = members.last_number;
        members.entries.insert(number, entry);
        number
    }

    pub(super) fn remove(&self, number: u64) {
        self.members().entries.remove(&number);
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TunnelGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelGroup")
            .field("open", &self.members().entries.len())
            .finish_non_exhaustive()
    }
}
