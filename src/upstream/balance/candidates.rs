//! Candidates that a load-balancing policy chooses from.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::upstream::{admission::AdmissionKind, member::Member};

use super::candidate_list::{CandidateList, Limits, NameKey};

/// Upstreams that may be picked for a request.
#[derive(Clone, Copy)]
pub struct Candidates<'a> {
    list: &'a CandidateList,
    /// Places in the list that are no candidates, in ascending order.
    skipped: &'a [usize],
    limits: Limits,
    now: Instant,
}

/// Upstream that may be picked, with its current counts and latency.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    member: &'a Member,
    limits: Limits,
    now: Instant,
}

impl<'a> Candidates<'a> {
    /// Returns the members of a list, except those at the `skipped` places, in ascending order.
    pub(crate) const fn new(
        list: &'a CandidateList,
        skipped: &'a [usize],
        kind: AdmissionKind,
        now: Instant,
    ) -> Self {
        Self {
            list,
            skipped,
            limits: Limits::Of(kind),
            now,
        }
    }

    /// Returns the members of another list, under the same limits.
    pub(crate) const fn among(self, list: &CandidateList) -> Candidates<'_> {
        Candidates {
            list,
            skipped: &[],
            limits: self.limits,
            now: self.now,
        }
    }

    /// Returns the same candidates, as if none had limits.
    pub(crate) const fn without_limits(self) -> Self {
        Self {
            limits: Limits::Ignored,
            ..self
        }
    }

    /// Returns the number of candidates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.members().len().saturating_sub(self.skipped.len())
    }

    /// Whether there are no candidates.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the candidate at this index, from zero.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Candidate<'a>> {
        self.member(index).map(|member| self.candidate(member))
    }

    /// Returns an iterator over all candidates, in the pool's order.
    pub fn iter(&self) -> impl Iterator<Item = Candidate<'a>> + use<'a> {
        let all = *self;
        self.members().map(move |member| all.candidate(member))
    }

    /// Whether any of the upstreams, as far as they are indexed, has a limit.
    pub(crate) const fn are_limited(&self) -> bool {
        self.list.is_limited()
    }

    /// Whether none of all indexed upstreams has room.
    pub(crate) fn are_full(&self) -> bool {
        match self.limits {
            Limits::Of(kind) => self.list.is_full(kind),
            Limits::Ignored => false,
        }
    }

    /// Returns the earliest time at which the rate of an indexed upstream has room again.
    pub(crate) fn rate_ready_at(&self) -> Option<Instant> {
        self.list.rate_ready_at()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &'a Arc<Member>> + use<'a> {
        self.unskipped(self.list.members())
            .map(|(_, member)| member)
    }

    /// Returns the keys of the candidates with their places in the list: faster than the candidates
    /// themselves, which lie anywhere in memory.
    pub(super) fn keys(&self) -> impl Iterator<Item = (usize, &'a NameKey)> + use<'a> {
        self.unskipped(self.list.keys())
    }

    fn unskipped<T>(&self, all: &'a [T]) -> impl Iterator<Item = (usize, &'a T)> + use<'a, T> {
        let mut skipped = self.skipped.iter().peekable();
        let is_candidate =
            move |(place, _): &(usize, _)| skipped.next_if(|skipped| *skipped == place).is_none();
        all.iter().enumerate().filter(is_candidate)
    }

    pub(crate) fn member(&self, index: usize) -> Option<&'a Arc<Member>> {
        self.list.members().get(index + self.skipped_before(index))
    }

    /// Returns the number of skipped places before the candidate at this index.
    fn skipped_before(&self, index: usize) -> usize {
        let (mut from, mut to) = (0, self.skipped.len());
        while from < to {
            let middle = from.midpoint(to);
            // The candidates before a skipped place are as many as the places that are not skipped.
            match self.skipped.get(middle) {
                Some(place) if place.saturating_sub(middle) <= index => from = middle + 1,
                _ => to = middle,
            }
        }
        from
    }

    /// Returns the mean weight of the upstreams in use, that of the first where it is unknown.
    pub(super) fn mean_weight(&self) -> f64 {
        self.list.mean_weight(self.len())
    }

    pub(super) const fn list(&self) -> &'a CandidateList {
        self.list
    }

    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns the candidate at a place of the list, with its index among the candidates.
    pub(super) fn at_place(&self, place: usize) -> Option<(usize, Candidate<'a>)> {
        let before = self.skipped.partition_point(|skipped| *skipped < place);
        if self.skipped.get(before) == Some(&place) {
            return None;
        }
        let member = self.list.members().get(place)?;
        Some((place - before, self.candidate(member)))
    }

    /// Returns the candidate at a place of the list that is not skipped.
    pub(super) fn at_unskipped(&self, place: usize) -> Option<Candidate<'a>> {
        let member = self.list.members().get(place)?;
        Some(self.candidate(member))
    }

    fn candidate(&self, member: &'a Arc<Member>) -> Candidate<'a> {
        Candidate {
            member,
            limits: self.limits,
            now: self.now,
        }
    }
}

impl<'a> Candidate<'a> {
    /// Returns an upstream that has been picked.
    pub(crate) const fn picked(member: &'a Member, now: Instant) -> Self {
        Self {
            member,
            limits: Limits::Ignored,
            now,
        }
    }

    /// Returns the upstream's name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.member.upstream().name()
    }

    /// Returns the number of tunnels open to the upstream, including those whose handshake is under
    /// way, and of forwarded requests under way.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.member.tunnels()
    }

    /// Returns the number of handshakes under way with the upstream.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.member.handshakes()
    }

    /// Whether the upstream's own [limits](crate::Upstream::admission) leave no room for the request,
    /// among them that on handshakes a second. The policies of this module pass over such an upstream. If a
    /// policy picks one, it is called again without those that are full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self.limits {
            Limits::Of(kind) => self.member.is_full(kind),
            Limits::Ignored => false,
        }
    }

    /// Returns the upstream's weight; see [`Upstream::weight`](crate::Upstream::weight). A policy
    /// must not pick an upstream of weight 0.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.member.weight()
    }

    /// Returns the value of a tag.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&'a str> {
        self.member.upstream().tag_value(key)
    }

    /// Returns the expected duration of a handshake: a moving average of the durations of
    /// handshakes, probes and pings; `None` before the first.
    ///
    /// A slow sample counts at once, and fades with a time constant of 10 s.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        self.member.expected_latency(self.now)
    }

    /// Returns the fraction of its share that the upstream should get: 1, or less in a slow start,
    /// down to 0.01; next to nothing for a while after it has failed a client, so that others are
    /// picked first.
    #[must_use]
    pub fn readiness(&self) -> f64 {
        self.member.readiness(self.now)
    }

    /// Returns the weight times the [readiness](Self::readiness): the upstream's share relative to
    /// the other candidates.
    #[must_use]
    pub fn effective_weight(&self) -> f64 {
        f64::from(self.weight()) * self.readiness()
    }

    /// Whether no slow start is under way, and no client has failed; reads no clock.
    pub(super) fn is_ready(&self) -> bool {
        self.member.is_ready()
    }

    /// Returns the stable hash of the name.
    pub(super) const fn name_hash(&self) -> u64 {
        self.member.name_hash()
    }

    /// Whether as many clients as may are trying the upstream, which is half-open: others should
    /// go elsewhere, if they can.
    pub(super) fn is_trial_full(&self) -> bool {
        self.member.is_trial_full()
    }

    /// Whether the upstream has a weight, and room.
    pub(super) fn is_eligible(&self) -> bool {
        self.weight() > 0 && !self.is_full()
    }
}

impl fmt::Debug for Candidates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.member.fmt(f)
    }
}
