//! A thread of low priority for the far ends of floods.
//!
//! What floods cost their own ends is not the proxy's doing, yet on a machine with few cores it would delay
//! the messages beside them.

use std::{future::pending, sync::OnceLock, thread};

use tokio::runtime::{Builder, Handle};

use crate::error::Result;

/// Added to the thread's niceness.
const NICENESS: i32 = 10;

static BULK: OnceLock<Handle> = OnceLock::new();

/// The thread's runtime. The thread begins with the first call, and ends with the process.
pub fn handle() -> Result<Handle> {
    if let Some(handle) = BULK.get() {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    if BULK.set(handle.clone()).is_ok() {
        thread::spawn(move || {
            // SAFETY: no memory is touched. On Linux the call is about the calling thread alone.
            unsafe { libc::nice(NICENESS) };
            runtime.block_on(pending::<()>());
        });
        return Ok(handle);
    }
    BULK.get()
        .cloned()
        .ok_or_else(|| "no thread for floods".into())
}
