//! The responses of one upstream that are under way.

use std::{
    fmt,
    sync::{Arc, Mutex, Weak},
};

use crate::{lock::lock, slots::Slots};

use super::exchange::Relay;

/// Responses under way that belong together, such as those of one upstream.
#[derive(Default)]
pub(crate) struct RelayGroup(Mutex<Slots<GroupedRelay>>);

/// Response of a group, with its length.
type GroupedRelay = (Weak<Relay>, ResponseLength);

/// Whether a response ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseLength {
    /// The response ends, sooner or later.
    Finite,
    /// The response is a stream of events, which goes on until a party ends it.
    Endless,
}

/// Place of a response in its group, which is given up on drop.
#[derive(Debug)]
pub(crate) struct RelayEntry {
    group: Arc<RelayGroup>,
    slot: u32,
}

impl RelayGroup {
    /// Adds a response.
    pub(crate) fn enter(
        self: &Arc<Self>,
        relay: &Arc<Relay>,
        length: ResponseLength,
    ) -> RelayEntry {
        let slot = lock(&self.0).add((Arc::downgrade(relay), length));
        RelayEntry {
            group: Arc::clone(self),
            slot,
        }
    }

    /// Returns the responses that are under way.
    pub(crate) fn under_way(&self) -> Vec<(Arc<Relay>, ResponseLength)> {
        let relays = lock(&self.0);
        let upgrade = |(relay, length): &GroupedRelay| Some((relay.upgrade()?, *length));
        relays.iter().filter_map(upgrade).collect()
    }
}

impl Drop for RelayEntry {
    fn drop(&mut self) {
        lock(&self.group.0).remove(self.slot);
    }
}

impl fmt::Debug for RelayGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayGroup")
            .field("under_way", &lock(&self.0).len())
            .finish_non_exhaustive()
    }
}
