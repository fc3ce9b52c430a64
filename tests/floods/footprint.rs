//! What a process holds.

use std::{fs, path::Path};

use tokio::runtime::Handle;

use crate::HEAP;

/// Descriptors and tasks of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// `None` where the system does not report them.
    descriptors: Option<usize>,
    /// Tasks of the runtime; none of another process, which are not seen.
    tasks: usize,
}

impl Footprint {
    /// Returns what this process holds now.
    pub(crate) fn now() -> Self {
        Self {
            descriptors: entries("/proc/self/fd"),
            tasks: Self::tasks_now(),
        }
    }

    /// Returns the descriptors of another process.
    pub(crate) fn of_process(id: u32) -> Self {
        Self {
            descriptors: entries(format!("/proc/{id}/fd")),
            tasks: 0,
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

fn entries(folder: impl AsRef<Path>) -> Option<usize> {
    fs::read_dir(folder).ok().map(Iterator::count)
}

/// Returns the bytes on the heap of this process.
pub(crate) fn heap() -> isize {
    let stats = HEAP.stats();
    stats.bytes_allocated as isize - stats.bytes_deallocated as isize
}

/// Growth of the heap since a moment.
pub(crate) struct HeapGrowth(isize);

impl HeapGrowth {
    pub(crate) fn since_now() -> Self {
        Self(heap())
    }

    /// Returns the bytes allocated since and not given back.
    pub(crate) fn bytes(&self) -> isize {
        heap() - self.0
    }
}

/// Returns the bytes of memory that another process has now.
pub(crate) fn resident_memory(id: u32) -> isize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.map_or(0, |text| text.trim().parse::<isize>().unwrap() << 10)
}
