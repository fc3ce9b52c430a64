//! Guard that keeps a tunnel in its registry.

use std::sync::Arc;

use crate::{lock::lock, tunnel::info::TunnelInfo};

use super::{
    command::Revocable,
    entry::{Departure, Entry},
    group::TunnelGroup,
    part::Part,
};

/// A tunnel's place in the registry and in its owner's group.
///
/// Dropping the guard marks the report of the tunnel as made; drains wait for that.
pub(crate) struct RegistryGuard {
    /// Of a registry; `None` for a tunnel that no registry lists.
    part: Option<Arc<Part>>,
    owner: Option<Arc<TunnelGroup>>,
    entry: Arc<Entry>,
}

impl RegistryGuard {
    /// The guard of a tunnel that was entered in this part of a registry, and added to its owner's group.
    pub(super) const fn listed(
        part: Arc<Part>,
        owner: Option<Arc<TunnelGroup>>,
        entry: Arc<Entry>,
    ) -> Self {
        Self {
            part: Some(part),
            owner,
            entry,
        }
    }

    /// Returns the guard of a tunnel that no registry lists; commands still reach it.
    pub(crate) fn unlisted(info: TunnelInfo) -> Self {
        Self {
            part: None,
            owner: None,
            entry: Arc::new(Entry::new(info)),
        }
    }

    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Takes a tunnel whose upstream is lost out of its owner's group, and calls off the closes that
    /// the upstream's loss had brought.
    pub(crate) fn leave_owner(&mut self) {
        if let Some(group) = self.owner.take() {
            group.remove(self.entry.slot());
        }
        self.entry.cancel_revocable(Revocable::ByPoolResume);
        self.entry.cancel_revocable(Revocable::ByNextUpstream);
        self.entry.cancel_revocable(Revocable::ByMove);
    }

    /// Adds the tunnel to the group of its next owner, the upstream of this name.
    pub(crate) fn enter_owner(&mut self, group: &Arc<TunnelGroup>, upstream: Arc<str>) {
        // One that came while the tunnel had no upstream.
        self.entry.cancel_revocable(Revocable::ByMove);
        self.entry.set_upstream(upstream);
        self.entry.set_slot(group.add(&self.entry));
        self.owner = Some(Arc::clone(group));
    }

    /// Marks the tunnel as over: it is no longer listed or counted.
    pub(crate) fn leave(&self, departure: Departure) {
        if !self.entry.set_over(departure) {
            return;
        }
        if let Some(part) = &self.part {
            part.table().count_over();
            let info = self.entry.info();
            if let Some(at) = info.deadline() {
                part.shared().deadlines.remove(at, info.id);
            }
        }
        if let Some(group) = &self.owner {
            group.remove(self.entry.slot());
        }
        self.entry.info().release();
    }
}

impl Drop for RegistryGuard {
    fn drop(&mut self) {
        if !self.entry.is_over() {
            self.leave(Departure::Cut);
        }
        if let Some(part) = &self.part {
            let mut departed = lock(&part.shared().departed);
            departed.ended += 1;
            departed.cut += usize::from(self.entry.was_cut());
            drop(departed);
            // Last: a drain that finds no tunnel left counts them.
            part.table().retire(&self.entry);
        }
        self.entry.set_ended();
    }
}
