//! The registry, and the guard that keeps a tunnel in it.

use std::{
    borrow::Borrow,
    collections::HashSet,
    fmt,
    hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    frame::CloseFrame,
    report::{TunnelEnd, TunnelInfo},
};

use super::{command::Command, entry::Entry, group::TunnelGroup, status::TunnelStatus};

/// Number of independent locks, so that a listing holds up a sixteenth of the tunnels that open
/// or close meanwhile, and only for the time of copying some pointers.
const SHARDS: usize = 16;

/// The tunnels of a proxy that are open now.
///
/// Cheap to clone; every clone shows the same tunnels.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    next_id: AtomicU64,
    open: AtomicU64,
    shards: [Mutex<Shard>; SHARDS],
}

/// Hashed the same way in every run, so that a simulation can be repeated. The numbers are our own:
/// no peer can choose them to collide.
type Shard = HashSet<ById, BuildHasherDefault<DefaultHasher>>;

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

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                next_id: AtomicU64::new(1),
                open: AtomicU64::new(0),
                shards: std::array::from_fn(|_| Mutex::default()),
            }),
        }
    }

    /// How many tunnels are open.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shared.open.load(Ordering::Acquire)
    }

    /// Every open tunnel with its figures, in no particular order.
    ///
    /// Tunnels go on while they are listed, so the figures are not of one moment.
    #[must_use]
    pub fn list(&self) -> Vec<TunnelStatus> {
        self.entries().iter().map(|entry| entry.status()).collect()
    }

    /// Closes the tunnel with this number; false if it is not open.
    pub fn close(&self, id: u64, frame: CloseFrame) -> bool {
        let entry = self
            .shared
            .shard(id)
            .get(&id)
            .map(|listed| Arc::clone(&listed.0));
        entry.is_some_and(|entry| {
            entry.send_command(Command::Close {
                frame,
                end: TunnelEnd::Requested,
                at: None,
            });
            true
        })
    }

    /// Closes every tunnel that the predicate picks; how many.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Registry, frame::{CloseCode, CloseFrame}};
    ///
    /// fn retire(registry: &Registry, upstream: &str) -> usize {
    ///     let frame = CloseFrame::new(CloseCode::SERVICE_RESTART, "moving");
    ///     registry.close_where(|tunnel| &*tunnel.upstream == upstream, &frame)
    /// }
    /// ```
    pub fn close_where<F>(&self, mut picks: F, frame: &CloseFrame) -> usize
    where
        F: FnMut(&TunnelInfo) -> bool,
    {
        let mut closed = 0;
        for entry in self.entries().iter().filter(|entry| picks(entry.info())) {
            let frame = frame.clone();
            entry.send_command(Command::Close {
                frame,
                end: TunnelEnd::Requested,
                at: None,
            });
            closed += 1;
        }
        closed
    }

    /// The entries at this moment, shard by shard.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        let mut entries = Vec::new();
        for shard in &self.shared.shards {
            entries.extend(lock(shard).iter().map(|listed| Arc::clone(&listed.0)));
        }
        entries
    }

    /// Lists a tunnel, also among those of its owner, until the guard is dropped. It gets a number.
    pub(crate) fn enter(
        &self,
        owner: Option<&Arc<TunnelGroup>>,
        mut info: TunnelInfo,
    ) -> RegistryGuard {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        info.id = id;
        let entry = Arc::new(Entry::new(info));
        self.shared.shard(id).insert(ById(Arc::clone(&entry)));
        self.shared.open.fetch_add(1, Ordering::AcqRel);
        RegistryGuard {
            owner: owner.map(|group| (Arc::clone(group), group.add(Arc::clone(&entry)))),
            registry: self.clone(),
            entry,
        }
    }
}

impl Shared {
    fn shard(&self, id: u64) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(id % SHARDS as u64).unwrap_or_default();
        lock(&self.shards[index])
    }
}

/// A tunnel's place in the registry and in its owner's group, given up on drop.
pub(crate) struct RegistryGuard {
    registry: Registry,
    /// The group, and the tunnel's number in it.
    owner: Option<(Arc<TunnelGroup>, u64)>,
    entry: Arc<Entry>,
}

impl RegistryGuard {
    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Drop for RegistryGuard {
    fn drop(&mut self) {
        let id = self.entry.info().id;
        if self.registry.shared.shard(id).remove(&id) {
            self.registry.shared.open.fetch_sub(1, Ordering::AcqRel);
        }
        if let Some((group, number)) = self.owner.take() {
            group.remove(number);
        }
        self.entry.end();
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("open", &self.count())
            .finish_non_exhaustive()
    }
}

/// The data is whole after every statement under the lock, so a panic elsewhere harms nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn info() -> TunnelInfo {
        TunnelInfo {
            id: 0,
            client: None,
            upstream: "a:80".into(),
            path: "/".into(),
            subprotocol: None,
            opened: SystemTime::UNIX_EPOCH,
        }
    }

    fn ids(tunnels: usize) -> Vec<u64> {
        let registry = Registry::new();
        let _open: Vec<_> = (0..tunnels).map(|_| registry.enter(None, info())).collect();
        registry
            .list()
            .iter()
            .map(|tunnel| tunnel.info.id)
            .collect()
    }

    #[test]
    fn the_order_of_the_tunnels_is_the_same_in_every_run() {
        assert_eq!(ids(500), ids(500));
    }

    #[test]
    fn an_owner_finds_its_tunnels_in_all_registries_and_no_others() {
        let registries = [Registry::new(), Registry::new()];
        let owner = Arc::new(TunnelGroup::default());
        let mut own: Vec<_> = registries
            .iter()
            .map(|registry| registry.enter(Some(&owner), info()))
            .collect();
        let _other = registries[0].enter(None, info());
        assert_eq!(owner.entries().len(), 2);
        own.pop();
        let left = owner.entries();
        assert_eq!(left.len(), 1);
        assert!(Arc::ptr_eq(&left[0], own[0].entry()));
        own.pop();
        assert!(owner.entries().is_empty());
        assert_eq!(registries.map(|registry| registry.count()), [1, 0]);
    }
}
