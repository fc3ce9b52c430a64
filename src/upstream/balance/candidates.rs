//! What a policy sees.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::upstream::Member;

/// The upstreams that may be picked for this request.
#[derive(Clone, Copy)]
pub struct Candidates<'a>(&'a [Arc<Member>], Instant);

/// One upstream that may be picked, with its figures at this moment.
#[derive(Clone, Copy)]
pub struct Candidate<'a>(&'a Member, Instant);

impl<'a> Candidates<'a> {
    pub(crate) const fn new(members: &'a [Arc<Member>], now: Instant) -> Self {
        Self(members, now)
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one at this index, from zero.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Candidate<'a>> {
        self.0.get(index).map(|member| Candidate(member, self.1))
    }

    /// All of them, in the pool's order.
    pub fn iter(&self) -> impl Iterator<Item = Candidate<'a>> + use<'a> {
        let now = self.1;
        self.0.iter().map(move |member| Candidate(member, now))
    }
}

impl<'a> Candidate<'a> {
    pub(crate) const fn new(member: &'a Member, now: Instant) -> Self {
        Self(member, now)
    }

    /// The upstream's name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.0.upstream().name()
    }

    /// Tunnels that are open to it now, those included that are still shaking hands, and forwarded
    /// requests under way.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.0.tunnels()
    }

    /// Handshakes with it that are under way now.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.0.handshakes()
    }

    /// Its weight; see [`Upstream::weight`](crate::Upstream::weight). A policy gives nothing
    /// to one of weight 0.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.0.weight()
    }

    /// The value of a tag.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&'a str> {
        self.0.upstream().tag_value(key)
    }

    /// Smoothed time of its handshakes and pings; `None` before the first.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        self.0.latency()
    }

    /// How much of its share it should get: 1, or less in a slow start, down to 0.01.
    #[must_use]
    pub fn readiness(&self) -> f64 {
        self.0.readiness(self.1)
    }

    /// Its weight, as far as it is ready: what it should get compared with the others.
    #[must_use]
    pub fn effective_weight(&self) -> f64 {
        f64::from(self.weight()) * self.readiness()
    }

    /// Whether it is in no slow start, without a look at the clock.
    pub(super) fn is_ready(&self) -> bool {
        !self.0.is_ramping()
    }

    /// The stable hash of its name.
    pub(super) const fn name_hash(&self) -> u64 {
        self.0.name_hash()
    }

    /// Whether it may get anything at all.
    pub(super) const fn is_wanted(&self) -> bool {
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
