//! The registry.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{frame::CloseFrame, instant::saturating_add, lock::lock, tunnel::info::TunnelInfo};

use super::{
    command::{Command, Revocable},
    drain_state::DrainState,
    entrance::enter,
    entry::Entry,
    group::TunnelGroup,
    guard::RegistryGuard,
    layer_tunnels::LayerTunnels,
    move_order::MoveOrder,
    part::Part,
    shared::{Departed, Shared},
    status::{Traffic, TunnelStatus},
};

/// The tunnels of a proxy that are open now.
///
/// Cheap to clone; every clone shows the same tunnels. Each [`ProxyLayer`](crate::ProxyLayer) has
/// one; a host that runs a [`Tunnel`](crate::tunnel::Tunnel) by itself makes its own, and enters it with
/// [`TunnelBuilder::registry`](crate::tunnel::TunnelBuilder::registry).
///
/// # Examples
///
/// ```
/// use wsplice::{Registry, TunnelInfo, connect::Transport, tunnel::Tunnel};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let (client, _far_client) = tokio::io::duplex(1024);
/// # let (upstream, _far_upstream) = tokio::io::duplex(1024);
/// let registry = Registry::new();
/// let tunnel = Tunnel::builder(Transport::new(client), Transport::new(upstream))
///     .registry(&registry, TunnelInfo::new("ws://10.0.0.1:8080", "/chat"))
///     .build();
/// assert_eq!(registry.count(), 1);
/// drop(tunnel);
/// assert_eq!(registry.count(), 0);
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    /// The part of the tunnels that the host runs by itself; it leads to the others.
    host: Arc<Part>,
}

impl Registry {
    /// A registry without tunnels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of open tunnels.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared().tables.open()
    }

    /// Returns every open tunnel with its figures, in no particular order.
    ///
    /// Tunnels go on while they are listed, so the figures are not of one moment.
    #[must_use]
    pub fn list(&self) -> Vec<TunnelStatus> {
        let open = self.open_entries();
        open.iter().map(|entry| entry.status()).collect()
    }

    /// Returns what all tunnels have forwarded so far, open and ended ones: the sum of their
    /// [reports](crate::TunnelReport), and the figures of those that are open. It never decreases.
    ///
    /// The sum takes time in proportion to the open tunnels, some microseconds for a thousand.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.shared().tables.traffic()
    }

    /// Closes the tunnel with this number; returns false if it is not open.
    pub fn close(&self, id: u64, frame: CloseFrame) -> bool {
        let open = self
            .shared()
            .tables
            .get(id)
            .filter(|entry| !entry.is_over());
        open.is_some_and(|entry| {
            entry.send_command(Command::requested(frame, None));
            true
        })
    }

    /// Returns the number of open tunnels that the predicate picks, such as [`by_label`](crate::tunnel::registry::by_label).
    ///
    /// Every tunnel is visited.
    pub fn count_where<F>(&self, mut picks: F) -> usize
    where
        F: FnMut(&TunnelInfo) -> bool,
    {
        let open = self.open_entries();
        open.iter()
            .filter(|entry| entry.with_current_info(&mut picks))
            .count()
    }

    /// Returns every open tunnel that the predicate picks, with its figures, in no particular order.
    pub fn list_where<F>(&self, mut picks: F) -> Vec<TunnelStatus>
    where
        F: FnMut(&TunnelInfo) -> bool,
    {
        let open = self.open_entries();
        let picked = open
            .iter()
            .filter(|entry| entry.with_current_info(&mut picks));
        picked.map(|entry| entry.status()).collect()
    }

    /// Closes every tunnel that the predicate picks, and returns their number. A tunnel that was
    /// [reattached](crate::tunnel::reattach::Reattach) is shown with the upstream that it has now.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Registry, frame::{CloseCode, CloseFrame}};
    ///
    /// fn retire(registry: &Registry, upstream: &str) -> usize {
    ///     let frame = CloseFrame::new(CloseCode::SERVICE_RESTART, "moving");
    ///     registry.close_where(|tunnel| &*tunnel.upstream == upstream, frame)
    /// }
    /// ```
    #[allow(clippy::needless_pass_by_value)] // as `close` takes it; every tunnel gets a copy
    pub fn close_where<F>(&self, mut picks: F, frame: CloseFrame) -> usize
    where
        F: FnMut(&TunnelInfo) -> bool,
    {
        let mut picked = self.open_entries();
        picked.retain(|entry| entry.with_current_info(&mut picks));
        for entry in &picked {
            entry.send_command(Command::requested(frame.clone(), None));
        }
        picked.len()
    }

    /// Returns the number of open tunnels with this [key](TunnelInfo::key).
    ///
    /// This and the other methods for a key take time in proportion to its tunnels, however many
    /// others there are.
    #[must_use]
    pub fn count_by_key(&self, key: &str) -> usize {
        self.open_with_key(key).len()
    }

    /// Returns every open tunnel with this [key](TunnelInfo::key), with its figures, in no particular
    /// order.
    #[must_use]
    pub fn list_by_key(&self, key: &str) -> Vec<TunnelStatus> {
        let open = self.open_with_key(key);
        open.iter().map(|entry| entry.status()).collect()
    }

    /// Closes every tunnel with this [key](TunnelInfo::key), and returns their number.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Registry, frame::{CloseCode, CloseFrame}};
    ///
    /// /// Ends all sockets of a user.
    /// fn log_out(registry: &Registry, user: &str) -> usize {
    ///     let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "logged out");
    ///     registry.close_by_key(user, frame)
    /// }
    /// ```
    #[allow(clippy::needless_pass_by_value)] // as `close` takes it; every tunnel gets a copy
    pub fn close_by_key(&self, key: &str, frame: CloseFrame) -> usize {
        let open = self.open_with_key(key);
        for entry in &open {
            entry.send_command(Command::requested(frame.clone(), None));
        }
        open.len()
    }

    /// Moves every tunnel that the predicate picks to another upstream, over this time, and returns
    /// their number.
    ///
    /// The client's connection lives on. A tunnel that cannot be moved keeps its upstream: it has no
    /// [`Reattach`](crate::tunnel::reattach::Reattach), its agreement forbids it, no other upstream accepts its
    /// handshake in time, or its client does not end its message in time. [`Pool::drain`] with
    /// [`OnUpstreamLoss::Move`] closes those.
    ///
    /// [`Pool::drain`]: crate::Pool::drain
    /// [`OnUpstreamLoss::Move`]: crate::pool::OnUpstreamLoss::Move
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use wsplice::{Registry, TunnelInfo};
    ///
    /// /// Moves a half of an upstream's tunnels to others, after upstreams were added.
    /// fn relieve(registry: &Registry, upstream: &str) -> usize {
    ///     let spread = Duration::from_secs(60);
    ///     let picks = |tunnel: &TunnelInfo| &*tunnel.upstream == upstream && tunnel.id % 2 == 0;
    ///     registry.move_where(picks, spread)
    /// }
    /// ```
    pub fn move_where<F>(&self, mut picks: F, spread: Duration) -> usize
    where
        F: FnMut(&TunnelInfo) -> bool,
    {
        let mut picked = self.open_entries();
        picked.retain(|entry| entry.with_current_info(&mut picks));
        let now = Instant::now();
        for entry in &picked {
            let order = MoveOrder {
                at: saturating_add(now, spread.mul_f64(fastrand::f64())),
                otherwise: None,
            };
            entry.send_move(order, Revocable::ByMove);
        }
        picked.len()
    }

    /// Returns the entries of the tunnels that are not over.
    pub(crate) fn open_entries(&self) -> Vec<Arc<Entry>> {
        let mut entries = self.entries();
        entries.retain(|entry| !entry.is_over());
        entries
    }

    /// Returns the entries of the tunnels with this key that are not over.
    pub(crate) fn open_with_key(&self, key: &str) -> Vec<Arc<Entry>> {
        let mut entries = self.shared().tables.with_key(key);
        entries.retain(|entry| !entry.is_over());
        entries
    }

    /// Returns the entries at this moment, shard by shard, also those of tunnels that are over and
    /// have not been reported yet.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.shared().tables.all()
    }

    /// Returns how many tunnels have ended and been reported so far.
    pub(crate) fn departed(&self) -> Departed {
        *lock(&self.shared().departed)
    }

    /// Whether both are one registry.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.shared(), other.shared())
    }

    pub(crate) fn drain_state(&self) -> &Arc<DrainState> {
        &self.shared().drain
    }

    /// Adds a layer, which enters its tunnels by what is returned.
    pub(crate) fn add_layer(&self) -> LayerTunnels {
        LayerTunnels::new(Part::new(Arc::clone(self.shared())))
    }

    /// Lists a tunnel of no layer, also among those of its owner, until the guard is dropped. It gets
    /// a number.
    pub(crate) fn enter(
        &self,
        owner: Option<&Arc<TunnelGroup>>,
        info: TunnelInfo,
    ) -> RegistryGuard {
        enter(&self.host, owner, info)
    }

    fn shared(&self) -> &Arc<Shared> {
        self.host.shared()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("open", &self.count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
