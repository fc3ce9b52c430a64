//! Counts of the tunnels that went from one upstream to another while their clients stayed.

use std::collections::HashMap;

use wsplice::tunnel::reattach::{Loss, UpstreamChange};

use crate::document::{ChangesRow, Reattachments};

/// Upstreams that are counted apart. Those of a pool that follows a source may change for ever.
const MAX_UPSTREAMS: usize = 1_000;

/// Counts of changes of tunnels' upstreams.
#[derive(Default)]
pub(crate) struct Changes {
    all: ChangesRow,
    by_upstream: HashMap<Box<str>, ChangesRow>,
    failed: u64,
}

impl Changes {
    pub(crate) fn count(&mut self, change: &UpstreamChange) {
        add(&mut self.all, change.loss);
        let is_known = self.by_upstream.contains_key(&*change.from);
        if is_known || self.by_upstream.len() < MAX_UPSTREAMS {
            let name = Box::from(&*change.from);
            add(self.by_upstream.entry(name).or_default(), change.loss);
        }
    }

    pub(crate) fn count_failure(&mut self) {
        self.failed += 1;
    }

    /// The counts of the tunnels that left this upstream.
    pub(crate) fn from(&self, upstream: &str) -> ChangesRow {
        self.by_upstream.get(upstream).copied().unwrap_or_default()
    }

    pub(crate) fn total(&self) -> Reattachments {
        Reattachments {
            reattached: self.all.reattached,
            moved: self.all.moved,
            failed: self.failed,
        }
    }
}

fn add(row: &mut ChangesRow, loss: Loss) {
    match loss {
        Loss::Moved => row.moved += 1,
        _ => row.reattached += 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_and_losses_are_counted_apart_for_each_upstream() {
        let mut changes = Changes::default();
        let change = |from: &str, loss| UpstreamChange::new(from, "b:80", loss);
        changes.count(&change("a:80", Loss::Moved));
        changes.count(&change("a:80", Loss::ClosedWithoutFrame));
        changes.count(&change("c:80", Loss::Moved));
        changes.count_failure();
        let of = |row: ChangesRow| (row.reattached, row.moved);
        assert_eq!(of(changes.from("a:80")), (1, 1));
        assert_eq!(of(changes.from("b:80")), (0, 0));
        let total = changes.total();
        assert_eq!((total.reattached, total.moved, total.failed), (1, 2, 1));
    }

    #[test]
    fn upstreams_without_number_do_not_make_the_memory_grow() {
        let mut changes = Changes::default();
        for number in 0..2 * MAX_UPSTREAMS {
            let from = format!("a:{number}");
            changes.count(&UpstreamChange::new(from, "b:80", Loss::Moved));
        }
        assert_eq!(changes.by_upstream.len(), MAX_UPSTREAMS);
        assert_eq!(changes.total().moved, 2 * MAX_UPSTREAMS as u64);
    }
}
