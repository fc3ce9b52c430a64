//! The entries of a registry.

use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard},
};

use crate::lock::lock;

use super::{entry::Entry, ids::FromFirst, status::Traffic};

/// Number of independent locks, so that a listing holds up a sixteenth of the tunnels that open
/// or close meanwhile, and only for the time of copying some pointers.
const SHARDS: usize = 16;

/// The entries of a registry by the numbers of their tunnels, and the traffic of the tunnels that are
/// no longer among them.
pub(super) struct Table([Mutex<Shard>; SHARDS]);

/// A share of the tunnels.
struct Shard {
    entries: HashSet<ById, FromFirst>,
    /// Of the tunnels that are no longer among the entries.
    past: Traffic,
}

/// An entry, found by its number, which it carries itself: a slot of the table is one pointer.
struct ById(Arc<Entry>);

impl Borrow<u64> for ById {
    fn borrow(&self) -> &u64 {
        &self.0.info().id
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.info().id == other.0.info().id
    }
}

impl Eq for ById {}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.info().id.hash(state);
    }
}

impl Table {
    /// A table without entries for numbers from this one on.
    pub(super) fn new(first: u64) -> Self {
        Self(std::array::from_fn(|_| {
            Mutex::new(Shard {
                entries: HashSet::with_hasher(FromFirst(first)),
                past: Traffic::default(),
            })
        }))
    }

    pub(super) fn insert(&self, entry: &Arc<Entry>) {
        let mut shard = self.shard(entry.info().id);
        shard.entries.insert(ById(Arc::clone(entry)));
    }

    /// Removes the entry of a tunnel that has ended.
    pub(super) fn retire(&self, entry: &Entry) {
        let id = entry.info().id;
        self.shard(id).retire(entry);
    }

    pub(super) fn get(&self, id: u64) -> Option<Arc<Entry>> {
        let shard = self.shard(id);
        shard.entries.get(&id).map(|listed| Arc::clone(&listed.0))
    }

    /// The entries at this moment, shard by shard.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        let mut entries = Vec::new();
        for shard in &self.0 {
            let shard = lock(shard);
            entries.extend(shard.entries.iter().map(|listed| Arc::clone(&listed.0)));
        }
        entries
    }

    /// The traffic of all tunnels that were ever entered.
    pub(super) fn traffic(&self) -> Traffic {
        let mut traffic = Traffic::default();
        for shard in &self.0 {
            traffic.add(lock(shard).traffic());
        }
        traffic
    }

    fn shard(&self, id: u64) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(id % SHARDS as u64).unwrap_or_default();
        lock(&self.0[index])
    }
}

impl Shard {
    fn traffic(&self) -> Traffic {
        let mut traffic = self.past;
        for listed in &self.entries {
            traffic.add(listed.0.figures().traffic());
        }
        traffic
    }

    /// Removes the entry of a tunnel that has ended.
    fn retire(&mut self, entry: &Entry) {
        self.entries.remove(&entry.info().id);
        self.past.add(entry.figures().traffic());
    }
}
