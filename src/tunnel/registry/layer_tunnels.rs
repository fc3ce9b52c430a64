//! The tunnels of one layer.

use std::{fmt, sync::Arc};

use crate::tunnel::info::TunnelInfo;

use super::{
    entrance::enter, group::TunnelGroup, guard::RegistryGuard, part::Part, status::Traffic,
};

/// The tunnels of one layer: the part of a [registry](crate::Registry) that the layer and its clones
/// have entered.
///
/// Several layers may share a registry ([`ProxyLayer::with_registry`](crate::ProxyLayer::with_registry)),
/// whose figures are those of all of them. These are the figures of one. Tunnels that a host runs by
/// itself ([`TunnelBuilder::registry`](crate::tunnel::TunnelBuilder::registry)) belong to no layer.
///
/// Cheap to clone; every clone shows the same tunnels.
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, ProxyLayer, Registry};
///
/// let registry = Registry::new();
/// let pool = Pool::new(["ws://10.0.0.1:8080"])?.build();
/// let chat = ProxyLayer::new(pool.clone()).with_registry(&registry).tunnels();
/// let feed = ProxyLayer::new(pool).with_registry(&registry).tunnels();
/// assert_eq!(chat.count() + feed.count(), registry.count());
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone)]
pub struct LayerTunnels(Arc<Part>);

impl LayerTunnels {
    pub(super) fn new(part: Part) -> Self {
        Self(Arc::new(part))
    }

    /// Returns the number of open tunnels of the layer.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.table().open()
    }

    /// Returns what the layer's tunnels have forwarded so far, open and ended ones, as
    /// [`Registry::traffic`](crate::Registry::traffic) does for all tunnels. It never decreases.
    ///
    /// The sum takes time in proportion to the layer's open tunnels.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.0.table().traffic()
    }

    /// Returns whether both are the tunnels of one layer: of the same one, or of two of which one was
    /// cloned from the other.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Pool, ProxyLayer};
    ///
    /// let pool = Pool::new(["ws://10.0.0.1:8080"])?.build();
    /// let chat = ProxyLayer::new(pool.clone());
    /// assert!(chat.tunnels().same_layer(&chat.clone().tunnels()));
    /// assert!(!chat.tunnels().same_layer(&ProxyLayer::new(pool).tunnels()));
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    #[must_use]
    pub fn same_layer(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Lists a tunnel of the layer, also among those of its owner, until the guard is dropped. It gets
    /// a number.
    pub(crate) fn enter(
        &self,
        owner: Option<&Arc<TunnelGroup>>,
        info: TunnelInfo,
    ) -> RegistryGuard {
        enter(&self.0, owner, info)
    }
}

impl fmt::Debug for LayerTunnels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerTunnels")
            .field("open", &self.count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
