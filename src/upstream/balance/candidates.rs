//! Candidates that a load-balancing policy chooses from.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::upstream::member::Member;

/// Upstreams that may be picked for a request.
#[derive(Clone, Copy)]
pub struct Candidates<'a>(&'a [Arc<Member>], Instant);

/// Upstream that may be picked, with its current counts and latency.
#[derive(Clone, Copy)]
pub struct Candidate<'a>(&'a Member, Instant);

impl<'a> Candidates<'a> {
    pub(crate) const fn new(members: &'a [Arc<Member>], now: Instant) -> Self {
        Self(members, now)
    }

    /// Returns the number of candidates.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no candidates.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the candidate at this index, from zero.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Candidate<'a>> {
        self.0.get(index).map(|member| Candidate(member, self.1))
    }

    /// Returns an iterator over all candidates, in the pool's order.
    pub fn iter(&self) -> impl Iterator<Item = Candidate<'a>> + use<'a> {
        let now = self.1;
        self.0.iter().map(move |member| Candidate(member, now))
    }
}

impl<'a> Candidate<'a> {
    pub(crate) const fn new(member: &'a Member, now: Instant) -> Self {
        Self(member, now)
    }

    /// Returns the upstream's name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.0.upstream().name()
    }

    /// Returns the number of tunnels open to the upstream, including those whose handshake is under
    /// way, and of forwarded requests under way.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.0.tunnels()
    }

    /// Returns the number of handshakes under way with the upstream.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.0.handshakes()
    }

    /// Returns the upstream's weight; see [`Upstream::weight`](crate::Upstream::weight). A policy
    /// must not pick an upstream of weight 0.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.0.weight()
    }

    /// Returns the value of a tag.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&'a str> {
        self.0.upstream().tag_value(key)
    }

    /// Returns the smoothed duration of the upstream's handshakes and pings; `None` before the
    /// first.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        self.0.latency()
    }

    /// Returns the fraction of its share that the upstream should get: 1, or less in a slow start,
    /// down to 0.01.
    #[must_use]
    pub fn readiness(&self) -> f64 {
        self.0.readiness(self.1)
    }

    /// Returns the weight times the [readiness](Self::readiness): the upstream's share relative to
    /// the other candidates.
    #[must_use]
    pub fn effective_weight(&self) -> f64 {
        f64::from(self.weight()) * self.readiness()
    }

    /// Whether no slow start is under way; reads no clock.
    pub(super) fn is_ready(&self) -> bool {
        !self.0.is_slow_starting()
    }

    /// Returns the stable hash of the name.
    pub(super) const fn name_hash(&self) -> u64 {
        self.0.name_hash()
    }

    /// Whether the upstream may get traffic at all.
    pub(super) const fn has_weight(&self) -> bool {
        self.0.weight() > 0
    }
}

impl fmt::Debug for Candidates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
