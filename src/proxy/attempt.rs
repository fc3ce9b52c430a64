//! One attempt of a request at an upstream.

use tokio::time::Instant;

use crate::pool::Lease;

/// A try at one upstream.
pub(super) struct Attempt {
    pub(super) lease: Lease,
    pub(super) began: Instant,
    /// Counted from 1.
    pub(super) number: usize,
}

impl Attempt {
    /// The upstream's name.
    pub(super) fn upstream(&self) -> &str {
        self.lease.member().upstream().name()
    }
}
