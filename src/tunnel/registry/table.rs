//! The entries of a part of a registry.

use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::lock::lock;

use super::{entry::Entry, ids::FromFirst, key_index::KeyIndex, status::Traffic};

/// Number of independent locks, so that a listing holds up a sixteenth of the tunnels that open
/// or close meanwhile, and only for the time of copying some pointers.
const SHARDS: usize = 16;

/// The entries of a part of a registry by the numbers and by the keys of their tunnels, and the traffic
/// of the tunnels that are no longer among them.
pub(super) struct Table {
    /// Number of tunnels that are not over.
    open: AtomicUsize,
    shards: [Mutex<Shard>; SHARDS],
    /// Of keys. Clients may have a part in these, so the hash is not one that can be predicted.
    hasher: RandomState,
}

/// A share of the tunnels.
struct Shard {
    entries: HashSet<ById, FromFirst>,
    /// Of those entries that have a key.
    keys: KeyIndex,
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
        let shard = || Shard {
            entries: HashSet::with_hasher(FromFirst(first)),
            keys: KeyIndex::new(first),
            past: Traffic::default(),
        };
        Self {
            open: AtomicUsize::new(0),
            shards: std::array::from_fn(|_| Mutex::new(shard())),
            hasher: RandomState::new(),
        }
    }

    /// Adds the entry of a tunnel, which is open.
    pub(super) fn insert(&self, entry: &Arc<Entry>) {
        let (id, hash) = (entry.info().id, self.hash_of_key(entry));
        let mut shard = self.shard(id);
        if let Some(hash) = hash {
            shard.keys.add(hash, id);
        }
        shard.entries.insert(ById(Arc::clone(entry)));
        drop(shard);
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts an open tunnel as over; its entry stays.
    pub(super) fn count_over(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }

    /// Returns the number of tunnels that are not over.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Removes the entry of a tunnel that has ended.
    pub(super) fn retire(&self, entry: &Entry) {
        let (id, hash) = (entry.info().id, self.hash_of_key(entry));
        let mut shard = self.shard(id);
        if let Some(hash) = hash {
            shard.keys.remove(hash, id);
        }
        shard.retire(entry);
    }

    pub(super) fn get(&self, id: u64) -> Option<Arc<Entry>> {
        let shard = self.shard(id);
        shard.entries.get(&id).map(|listed| Arc::clone(&listed.0))
    }

    /// The entries at this moment, shard by shard.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        let mut entries = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            entries.extend(shard.entries.iter().map(|listed| Arc::clone(&listed.0)));
        }
        entries
    }

    /// The entries of the tunnels with this key, in time in proportion to their number.
    pub(super) fn with_key(&self, key: &str) -> Vec<Arc<Entry>> {
        let hash = self.hasher.hash_one(key);
        let mut entries = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let found = shard.keys.with_hash(hash);
            let found = found.filter_map(|id| shard.entries.get(&id));
            let found = found.filter(|listed| listed.0.info().key() == Some(key));
            entries.extend(found.map(|listed| Arc::clone(&listed.0)));
        }
        entries
    }

    /// The traffic of all tunnels that were ever entered.
    pub(super) fn traffic(&self) -> Traffic {
        let mut traffic = Traffic::default();
        for shard in &self.shards {
            traffic.add(lock(shard).traffic());
        }
        traffic
    }

    fn shard(&self, id: u64) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(id % SHARDS as u64).unwrap_or_default();
        lock(&self.shards[index])
    }

    fn hash_of_key(&self, entry: &Entry) -> Option<u64> {
        let key = entry.info().key()?;
        Some(self.hasher.hash_one(key))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::info::TunnelInfo;

    #[test]
    fn a_tunnel_whose_key_has_the_hash_of_another_key_is_not_taken_for_one_of_that() {
        let table = Table::new(1);
        let enter = |id, key: &str| {
            let mut info = TunnelInfo::new("ws://upstream", "/");
            info.id = id;
            info.set_key(key);
            let entry = Arc::new(Entry::new(info));
            table.insert(&entry);
            entry
        };
        let (alice, bob) = (enter(1, "alice"), enter(2, "bob"));
        let hash = table.hash_of_key(&alice).unwrap();
        table.shard(2).keys.add(hash, 2);
        let ids = |key| {
            let entries = table.with_key(key).into_iter();
            entries.map(|entry| entry.info().id).collect::<Vec<_>>()
        };
        assert_eq!((ids("alice"), ids("bob")), (vec![1], vec![2]));
        table.retire(&alice);
        table.retire(&bob);
        assert_eq!((ids("alice"), ids("bob")), (vec![], vec![]));
    }
}
