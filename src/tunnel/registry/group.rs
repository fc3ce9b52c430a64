//! Group of the tunnels of one owner.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use crate::{lock::lock, slots::Slots};

use super::{command::Revocable, entry::Entry};

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

    /// Gives each of the group's tunnels an order of this issuer. One that has left the group meanwhile
    /// does not keep it.
    pub(crate) fn order(&self, issuer: Revocable, send: impl Fn(&Entry)) {
        for entry in self.entries() {
            send(&entry);
            // A tunnel leaves first, and then calls off what it was ordered.
            if !self.has(&entry) {
                entry.cancel_revocable(issuer);
            }
        }
    }

    fn has(&self, entry: &Arc<Entry>) -> bool {
        let tunnels = lock(&self.0);
        let listed = tunnels.get(entry.slot());
        listed.is_some_and(|listed| Arc::ptr_eq(listed, entry))
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::Instant;

    use super::*;
    use crate::tunnel::{
        info::TunnelInfo,
        registry::{MoveOrder, Registry},
    };

    #[test]
    fn a_tunnel_that_leaves_its_upstream_while_that_is_drained_keeps_no_order_of_the_drain() {
        for leaves in [false, true] {
            let (registry, group) = (Registry::new(), Arc::default());
            let guard = registry.enter(Some(&group), TunnelInfo::new("ws://upstream", "/"));
            let guard = RefCell::new(guard);
            group.order(Revocable::ByPoolResume, |entry| {
                if leaves {
                    guard.borrow_mut().leave_owner();
                }
                let order = MoveOrder {
                    at: Instant::now(),
                    otherwise: None,
                };
                entry.send_move(order, Revocable::ByPoolResume);
            });
            let order = guard.borrow().entry().move_order();
            assert_eq!(order.is_none(), leaves);
        }
    }
}
