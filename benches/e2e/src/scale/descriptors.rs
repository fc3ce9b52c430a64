//! Descriptors: the limit on open files holds for a table of files, which threads may have of their own.

use std::io;

use crate::{cpu, error::Result};

/// Files of a process beside its connections: epolls, event descriptors, listeners.
const SPARE: usize = 1_000;

/// Threads that together may have so many files open.
pub fn threads_for(files: usize) -> usize {
    let each = cpu::open_files_limit().saturating_sub(SPARE).max(100);
    files.div_ceil(each).max(2)
}

/// Gives the calling thread a table of files of its own, a copy of the process'.
///
/// From then on a file that one thread opens is none of another's: only files that were open before may be
/// used by several threads, such as those by which runtimes wake each other.
pub fn own_table() -> Result<()> {
    // SAFETY: no memory is touched. Every file is used by the thread that opened it, or was opened before.
    match unsafe { libc::unshare(libc::CLONE_FILES) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error().into()),
    }
}
