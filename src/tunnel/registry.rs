//! What is open now: list, count, close.

use std::{
    borrow::Borrow,
    collections::HashSet,
    fmt,
    future::poll_fn,
    hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    error::Side,
    frame::CloseFrame,
    tunnel::report::{Rtt, TunnelEnd, TunnelInfo},
    upstream::Member,
};

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
/// nobody can choose them to collide.
type Shard = HashSet<ById, BuildHasherDefault<DefaultHasher>>;

/// An entry, found by its number, which it carries itself: a slot of the table is one pointer.
struct ById(Arc<Entry>);

impl Borrow<u64> for ById {
    fn borrow(&self) -> &u64 {
        &self.0.info.id
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.info.id == other.0.info.id
    }
}

impl Eq for ById {}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.info.id.hash(state);
    }
}

/// A registry that is not kept: it goes with its proxy and the last tunnel.
#[derive(Clone)]
pub(crate) struct WeakRegistry(Weak<Shared>);

/// One line of a [`Registry::list`]: a tunnel and its figures at that moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TunnelStatus {
    /// What is known of the tunnel from its start.
    pub info: TunnelInfo,
    /// The client's leg.
    pub client: LegStatus,
    /// The upstream's leg.
    pub upstream: LegStatus,
}

/// The figures of one leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LegStatus {
    /// Bytes that came from this leg and were passed on.
    pub bytes: u64,
    /// Frames that came from this leg.
    pub frames: u64,
    /// When something last came from this leg, counted from the tunnel's start.
    pub last_received: Duration,
    /// The newest round trip of a ping of ours on this leg.
    pub rtt: Option<Duration>,
}

/// A tunnel in the registry: what it shows, and what it is told.
pub(crate) struct Entry {
    info: TunnelInfo,
    /// Whose tunnel it is.
    member: Option<Arc<Member>>,
    figures: Figures,
    told: AtomicBool,
    control: Mutex<Control>,
    ended: AtomicBool,
}

#[derive(Default)]
struct Control {
    command: Option<Box<Command>>,
    waker: Option<Waker>,
    /// Exists only while someone waits for the end.
    end: Option<Arc<Notify>>,
}

/// What a tunnel is told to do.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// End with this close frame on both legs, at this moment or at once.
    Close {
        frame: CloseFrame,
        end: TunnelEnd,
        at: Option<Instant>,
    },
    /// End at once, as it stands.
    Abort { end: TunnelEnd },
}

impl Command {
    pub(crate) const fn at(&self) -> Option<Instant> {
        match self {
            Self::Close { at, .. } => *at,
            Self::Abort { .. } => None,
        }
    }
}

impl Control {
    fn is_to_abort(&self) -> bool {
        matches!(self.command.as_deref(), Some(Command::Abort { .. }))
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
            entry.tell(Command::Close {
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
        for entry in self.entries().iter().filter(|entry| picks(&entry.info)) {
            let frame = frame.clone();
            entry.tell(Command::Close {
                frame,
                end: TunnelEnd::Requested,
                at: None,
            });
            closed += 1;
        }
        closed
    }

    pub(crate) fn downgrade(&self) -> WeakRegistry {
        WeakRegistry(Arc::downgrade(&self.shared))
    }

    /// The entries at this moment, shard by shard.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        let mut entries = Vec::new();
        for shard in &self.shared.shards {
            entries.extend(lock(shard).iter().map(|listed| Arc::clone(&listed.0)));
        }
        entries
    }

    /// Lists a tunnel until the guard is dropped. The upstream is told of its round trips.
    pub(crate) fn enter(
        &self,
        member: Option<Arc<Member>>,
        info: impl FnOnce(u64) -> TunnelInfo,
    ) -> Listed {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(Entry {
            info: info(id),
            member,
            figures: Figures::default(),
            told: AtomicBool::new(false),
            control: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        self.shared.shard(id).insert(ById(Arc::clone(&entry)));
        self.shared.open.fetch_add(1, Ordering::AcqRel);
        Listed {
            registry: self.clone(),
            entry,
        }
    }
}

impl WeakRegistry {
    /// The registry, while there is one.
    pub(crate) fn upgrade(&self) -> Option<Registry> {
        let shared = self.0.upgrade()?;
        Some(Registry { shared })
    }
}

impl Shared {
    fn shard(&self, id: u64) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(id % SHARDS as u64).unwrap_or_default();
        lock(&self.shards[index])
    }
}

/// A tunnel's place in the registry, given up on drop.
pub(crate) struct Listed {
    registry: Registry,
    entry: Arc<Entry>,
}

impl Listed {
    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let id = self.entry.info.id;
        if self.registry.shared.shard(id).remove(&id) {
            self.registry.shared.open.fetch_sub(1, Ordering::AcqRel);
        }
        self.entry.ended.store(true, Ordering::Release);
        if let Some(end) = lock(&self.entry.control).end.take() {
            end.notify_waiters();
        }
    }
}

impl Entry {
    pub(crate) const fn info(&self) -> &TunnelInfo {
        &self.info
    }

    pub(crate) const fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The tunnel's own: the upstream has answered a ping.
    pub(crate) fn sample_upstream(&self, rtt: Rtt) {
        if let Some(member) = &self.member {
            member.sample_latency(rtt.last());
        }
    }

    fn status(&self) -> TunnelStatus {
        TunnelStatus {
            info: self.info.clone(),
            client: self.figures.client.status(),
            upstream: self.figures.upstream.status(),
        }
    }

    /// Tells the tunnel what to do, and wakes it. A newer command replaces one not yet obeyed,
    /// unless that is to abort.
    pub(crate) fn tell(&self, command: Command) {
        let waker = {
            let mut control = lock(&self.control);
            if control.is_to_abort() {
                return;
            }
            control.command = Some(Box::new(command));
            self.told.store(true, Ordering::Release);
            control.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until the tunnel is over.
    pub(crate) async fn ended(&self) {
        let end = Arc::clone(lock(&self.control).end.get_or_insert_default());
        // Created before the look, so that an end in between is not missed.
        let end = end.notified();
        if !self.ended.load(Ordering::Acquire) {
            end.await;
        }
    }

    /// The tunnel's own, before it runs: waits until it is told to abort.
    pub(crate) async fn aborted(&self) {
        poll_fn(|cx| {
            let mut control = lock(&self.control);
            if control.is_to_abort() {
                return Poll::Ready(());
            }
            control.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The tunnel's own: whom to wake.
    pub(crate) fn register(&self, waker: &Waker) {
        lock(&self.control).waker = Some(waker.clone());
    }

    /// The tunnel's own: what it was told, once.
    #[inline]
    pub(crate) fn take_command(&self) -> Option<Command> {
        if !self.told.load(Ordering::Acquire) {
            return None;
        }
        let mut control = lock(&self.control);
        self.told.store(false, Ordering::Release);
        control.command.take().map(|command| *command)
    }
}

/// What a tunnel shows of itself while it runs. It alone writes; anyone reads.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    client: LegFigures,
    upstream: LegFigures,
}

#[derive(Debug, Default)]
struct LegFigures {
    bytes: AtomicU64,
    frames: AtomicU64,
    last_received_ms: AtomicU64,
    /// Plus one, so that zero says: none yet.
    rtt_us: AtomicU64,
}

impl Figures {
    pub(crate) fn publish(
        &self,
        side: Side,
        bytes: u64,
        frames: u64,
        last_received: Duration,
        rtt: Option<Rtt>,
    ) {
        let leg = match side {
            Side::Client => &self.client,
            Side::Upstream | Side::Proxy => &self.upstream,
        };
        leg.bytes.store(bytes, Ordering::Relaxed);
        leg.frames.store(frames, Ordering::Relaxed);
        leg.last_received_ms
            .store(whole(last_received.as_millis()), Ordering::Relaxed);
        let rtt = rtt.map_or(0, |rtt| whole(rtt.last().as_micros()).saturating_add(1));
        leg.rtt_us.store(rtt, Ordering::Relaxed);
    }
}

impl LegFigures {
    fn status(&self) -> LegStatus {
        let rtt_us = self.rtt_us.load(Ordering::Relaxed);
        LegStatus {
            bytes: self.bytes.load(Ordering::Relaxed),
            frames: self.frames.load(Ordering::Relaxed),
            last_received: Duration::from_millis(self.last_received_ms.load(Ordering::Relaxed)),
            rtt: rtt_us.checked_sub(1).map(Duration::from_micros),
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("open", &self.count())
            .finish_non_exhaustive()
    }
}

fn whole(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The data is whole after every statement under the lock, so a panic elsewhere harms nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn listed(tunnels: usize) -> Vec<u64> {
        let registry = Registry::new();
        let enter = |_| {
            registry.enter(None, |id| TunnelInfo {
                id,
                client: None,
                upstream: "a:80".into(),
                path: "/".into(),
                subprotocol: None,
                opened: SystemTime::UNIX_EPOCH,
            })
        };
        let _open: Vec<_> = (0..tunnels).map(enter).collect();
        registry
            .list()
            .iter()
            .map(|tunnel| tunnel.info.id)
            .collect()
    }

    #[test]
    fn the_order_of_the_tunnels_is_the_same_in_every_run() {
        assert_eq!(listed(500), listed(500));
    }
}
