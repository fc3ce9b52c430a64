//! Part of a registry: the tunnels of one layer, or those that the host runs by itself.

use std::sync::Arc;

use super::{shared::Shared, table::Table};

/// A part of a registry, for as long as one of its tunnels may be entered or is listed.
pub(super) struct Part {
    shared: Arc<Shared>,
    table: Arc<Table>,
}

impl Part {
    /// A part without tunnels, beside those that the registry has.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let table = shared.tables.add();
        Self { shared, table }
    }

    /// The state of the whole registry.
    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The entries of this part alone.
    pub(super) fn table(&self) -> &Table {
        &self.table
    }
}

/// The first part of a registry.
impl Default for Part {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.shared.tables.remove(&self.table);
    }
}
