//! State of a registry, which its clones, its layers and the guards of its tunnels share.

use std::sync::{Arc, Mutex};

use super::{deadlines::Deadlines, drain_state::DrainState, ids::Ids, tables::Tables};

pub(super) struct Shared {
    pub(super) ids: Mutex<Ids>,
    pub(super) tables: Tables,
    pub(super) departed: Mutex<Departed>,
    pub(super) deadlines: Deadlines,
    pub(super) drain: Arc<DrainState>,
}

/// Tunnels that have ended and been reported so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Departed {
    pub(crate) ended: usize,
    /// Those of them of which a leg was cut off.
    pub(crate) cut: usize,
}

impl Default for Shared {
    fn default() -> Self {
        let ids = Ids::default();
        let tables = Tables::new(ids.first());
        Self {
            ids: Mutex::new(ids),
            tables,
            departed: Mutex::default(),
            deadlines: Deadlines::default(),
            drain: Arc::default(),
        }
    }
}
