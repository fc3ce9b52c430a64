//! What the process holds.

use std::{alloc::System, fs};

use stats_alloc::Region;
use tokio::runtime::Handle;

use crate::HEAP;

/// Descriptors and tasks of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// `None` where the system does not report them.
    descriptors: Option<usize>,
    tasks: usize,
}

impl Footprint {
    pub(crate) fn now() -> Self {
        let descriptors = fs::read_dir("/proc/self/fd").ok();
        Self {
            descriptors: descriptors.map(Iterator::count),
            tasks: Self::tasks_now(),
        }
    }

    /// Counts the tasks alone.
    pub(crate) fn tasks_now() -> usize {
        Handle::current().metrics().num_alive_tasks()
    }

    pub(crate) fn has_tasks(self, tasks: usize) -> bool {
        self.tasks == tasks
    }

    /// The same with this many descriptors more.
    pub(crate) fn with_descriptors(self, more: usize) -> Self {
        Self {
            descriptors: self.descriptors.map(|count| count + more),
            ..self
        }
    }
}

/// Growth of the heap since a moment.
pub(crate) struct HeapGrowth(Region<'static, System>);

impl HeapGrowth {
    pub(crate) fn since_now() -> Self {
        Self(Region::new(HEAP))
    }

    /// Returns the bytes allocated since and not given back.
    pub(crate) fn bytes(&self) -> isize {
        let change = self.0.change();
        change.bytes_allocated as isize - change.bytes_deallocated as isize
    }
}
