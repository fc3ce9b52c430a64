//! One attempt of a request at an upstream.

use std::time::Duration;

use tokio::time::Instant;

use crate::pool::Lease;

/// An attempt at one upstream.
pub(super) struct Attempt {
    pub(super) lease: Lease,
    pub(super) started_at: Instant,
    /// Number of this attempt, counted from 1.
    pub(super) number: usize,
    /// Time that connecting took, once connected.
    pub(super) connect: Option<Duration>,
}

impl Attempt {
    /// Returns the upstream's name.
    pub(super) fn upstream(&self) -> &str {
        self.lease.member().upstream().name()
    }
}
