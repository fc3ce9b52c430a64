//! The tables of a registry: one for each of its parts.

use std::sync::{Arc, Mutex};

use crate::lock::lock;

use super::{entry::Entry, status::Traffic, table::Table};

/// The tables of a registry, and the traffic of those that are no longer among them.
///
/// A visit of all tunnels takes the tables one after the other.
pub(super) struct Tables {
    /// The number that the tables count from.
    first: u64,
    listed: Mutex<Listed>,
}

#[derive(Clone, Default)]
struct Listed {
    tables: Vec<Arc<Table>>,
    /// Of the tables that were removed.
    past: Traffic,
}

impl Tables {
    /// No tables yet, of tunnels with numbers from this one on.
    pub(super) fn new(first: u64) -> Self {
        Self {
            first,
            listed: Mutex::default(),
        }
    }

    /// Adds a table, which is empty.
    pub(super) fn add(&self) -> Arc<Table> {
        let table = Arc::new(Table::new(self.first));
        lock(&self.listed).tables.push(Arc::clone(&table));
        table
    }

    /// Removes a table that has no entries any more, and keeps what its tunnels have forwarded.
    pub(super) fn remove(&self, table: &Arc<Table>) {
        let mut listed = lock(&self.listed);
        listed.tables.retain(|other| !Arc::ptr_eq(other, table));
        listed.past.add(table.traffic());
    }

    /// Returns the number of tunnels that are not over.
    pub(super) fn open(&self) -> usize {
        let listed = lock(&self.listed);
        listed.tables.iter().map(|table| table.open()).sum()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.listed).tables.len()
    }

    pub(super) fn get(&self, id: u64) -> Option<Arc<Entry>> {
        let tables = self.now().tables;
        tables.iter().find_map(|table| table.get(id))
    }

    /// The entries at this moment, table by table.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        let tables = self.now().tables;
        tables.iter().flat_map(|table| table.all()).collect()
    }

    /// The entries of the tunnels with this key.
    pub(super) fn with_key(&self, key: &str) -> Vec<Arc<Entry>> {
        let tables = self.now().tables;
        tables
            .iter()
            .flat_map(|table| table.with_key(key))
            .collect()
    }

    /// The traffic of all tunnels that were ever entered.
    pub(super) fn traffic(&self) -> Traffic {
        // A table that is removed meanwhile still has its traffic, which is not in this past.
        let Listed { tables, past } = self.now();
        let mut traffic = past;
        for table in tables {
            traffic.add(table.traffic());
        }
        traffic
    }

    /// The tables as they are now, so that a visit of their entries holds up no layer.
    fn now(&self) -> Listed {
        lock(&self.listed).clone()
    }
}
