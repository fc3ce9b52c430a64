//! Admission of a request to a pool, by the pool's own limits.

use tokio::time::Instant;

use crate::upstream::admission::AdmissionKind;

use super::{refusal::Refusal, state::PoolState};

/// Admission to the pool, revoked on drop unless a lease takes it over; also when a user's policy
/// panics.
pub(super) struct AdmissionGuard<'a> {
    state: &'a PoolState,
    kind: AdmissionKind,
}

impl<'a> AdmissionGuard<'a> {
    /// Admits a request, if the limits leave room.
    pub(super) fn enter(
        state: &'a PoolState,
        kind: AdmissionKind,
        now: Instant,
    ) -> Result<Self, Refusal> {
        let limits = &state.settings().admission;
        match state.counters().admit(kind, limits, now) {
            Ok(()) => Ok(Self { state, kind }),
            Err(limit) => Err(Refusal::exhausted(limit)),
        }
    }

    /// Leaves the admission to a lease, which revokes it from now on.
    pub(super) fn hand_over(self) {
        std::mem::forget(self);
    }
}

impl Drop for AdmissionGuard<'_> {
    fn drop(&mut self) {
        self.state.counters().revoke(self.kind);
        // The admission may have kept a waiter from its lease. A handshake notifies the queue by
        // itself, as it may be in the queue, unless it panics.
        if self.kind == AdmissionKind::Exchange || std::thread::panicking() {
            self.state.queue().call();
        }
    }
}
