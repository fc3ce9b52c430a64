//! Place of one tunnel under its key.

use std::{
    error::Error as StdError,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use crate::lock::lock;

use super::table::KeyTable;

/// Place of a handshake and its tunnel under a key, given up on drop.
#[derive(Debug)]
pub(in crate::proxy) struct KeyPermit {
    pub(super) table: Arc<Mutex<KeyTable>>,
    pub(super) key: u64,
    /// Number of keys without tunnels that the table remembers.
    pub(super) max_idle: usize,
}

/// Cause of the error when a key has reached a limit.
#[derive(Debug)]
pub(in crate::proxy) struct KeyLimitReached {
    /// Time after which another handshake is admitted, if time alone will help.
    pub(in crate::proxy) retry_after: Option<Duration>,
}

impl Drop for KeyPermit {
    fn drop(&mut self) {
        lock(&self.table).release(self.key, self.max_idle, Instant::now());
    }
}

impl fmt::Display for KeyLimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.retry_after {
            Some(after) => write!(f, "the next is admitted in {after:?}"),
            None => f.write_str("the next is admitted when a tunnel has ended"),
        }
    }
}

impl StdError for KeyLimitReached {}
