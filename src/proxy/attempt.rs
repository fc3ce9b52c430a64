//! One attempt of a request at an upstream.

use tokio::time::Instant;

use crate::pool::Lease;

/// An attempt at one upstream.
pub(super) struct Attempt {
    pub(super) lease: Lease,
    pub(super) started_at: Instant,
    /// Number of this attempt, counted from 1.
    pub(super) number: usize,
}

impl Attempt {
    /// Returns the upstream's name.
    pub(super) fn upstream(&self) -> &str {
        self.lease.member().upstream().name()
    }
}
