//! List of upstreams that policies choose from, indexed by weight and by free places.

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicBool, Ordering, fence},
};

use tokio::time::Instant;

use crate::{
    lock::lock,
    upstream::{admission::AdmissionKind, member::Member},
};

use super::{used_up_rates::UsedUpRates, weight_index::WeightIndex};

/// Limits that a pick respects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limits {
    /// Those of this kind of admission.
    Of(AdmissionKind),
    Ignored,
}

/// List of upstreams that policies choose from. The list never changes; its indices of those that
/// are in use, and of those with free places, do.
#[derive(Debug, Default)]
pub(crate) struct CandidateList {
    members: Vec<Arc<Member>>,
    /// Whether all weights are the same, and not zero.
    is_uniform: bool,
    /// `None` if draws need no index, or if the list is for a single pick.
    used: Option<DrawIndex>,
    /// `None` if no upstream has a limit.
    free: Option<FreePlaces>,
    /// Held during changes of the indices.
    change: Mutex<()>,
    /// Keys of the members, side by side in memory; made for the first policy that hashes.
    keys: OnceLock<Box<[NameKey]>>,
}

/// Properties of an upstream that policies compare by hashes.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameKey {
    /// [`hash`](crate::hash::hash) of the name.
    pub(super) hash: u64,
    pub(super) weight: u32,
}

/// Upstreams in use whose limits leave room, by kind of admission.
#[derive(Debug)]
struct FreePlaces {
    tunnels: DrawIndex,
    exchanges: DrawIndex,
    /// Upstreams that are without room until time makes some.
    rates: UsedUpRates,
}

/// Weights of the upstreams that can be drawn.
#[derive(Debug)]
struct DrawIndex {
    limits: Limits,
    weights: WeightIndex,
    is_listed: Box<[AtomicBool]>,
}

impl CandidateList {
    /// Creates a list with its index, and lets the members know their places in it.
    pub(crate) fn new(members: Vec<Arc<Member>>) -> Self {
        for (slot, member) in members.iter().enumerate() {
            member.set_slot(slot);
        }
        let is_uniform = has_equal_weights(&members);
        let is_limited = members.iter().any(|member| member.admission().is_limited());
        let index = |limits| DrawIndex::new(&members, limits);
        Self {
            is_uniform,
            used: (!is_uniform || is_limited).then(|| index(Limits::Ignored)),
            free: is_limited.then(|| FreePlaces {
                tunnels: index(Limits::Of(AdmissionKind::Tunnel)),
                exchanges: index(Limits::Of(AdmissionKind::Exchange)),
                rates: UsedUpRates::new(members.len()),
            }),
            members,
            change: Mutex::default(),
            keys: OnceLock::new(),
        }
    }

    /// Creates a list for a single pick, of members that have been found to have room.
    pub(crate) fn unindexed(members: Vec<Arc<Member>>) -> Self {
        Self {
            is_uniform: has_equal_weights(&members),
            members,
            used: None,
            free: None,
            change: Mutex::default(),
            keys: OnceLock::new(),
        }
    }

    pub(crate) fn into_members(self) -> Vec<Arc<Member>> {
        self.members
    }

    pub(crate) fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// Returns the keys of the members, in their order.
    pub(super) fn keys(&self) -> &[NameKey] {
        self.keys.get_or_init(|| {
            let members = self.members.iter();
            let key = |member: &Arc<Member>| NameKey {
                hash: member.name_hash(),
                weight: member.weight(),
            };
            members.map(key).collect()
        })
    }

    /// Updates the indices after a change of the member's counts.
    pub(crate) fn update_room(&self, member: &Member) {
        if let (Some(_), Some(place)) = (&self.free, self.place(member)) {
            self.update(place);
        }
    }

    /// Updates the indices after a change of the upstreams at these places, such as their use.
    pub(crate) fn update_places(&self, places: impl IntoIterator<Item = usize>) {
        places.into_iter().for_each(|place| self.update(place));
    }

    fn update(&self, place: usize) {
        self.update_index(place);
        let rates = self.free.as_ref().map(|free| &free.rates);
        let member = self.members.get(place);
        if let (Some(rates), true) = (rates, member.is_some_and(|member| member.is_rate_used_up()))
        {
            rates.add(place);
        }
    }

    fn update_index(&self, place: usize) {
        // The listed member has the newest limits.
        let Some(member) = self.members.get(place) else {
            return;
        };
        let free = self.free.iter();
        let free = free.flat_map(|free| [&free.tunnels, &free.exchanges]);
        for index in self.used.iter().chain(free) {
            // Between the change of the counts and the look at the index, here and in the loop: of
            // two changes at once, one sees the other.
            fence(Ordering::SeqCst);
            if index.is_outdated(place, member) {
                let _change = lock(&self.change);
                while index.is_outdated(place, member) {
                    index.flip(place, member);
                    fence(Ordering::SeqCst);
                }
            }
        }
    }

    /// Lists the upstreams whose rate has room again.
    pub(crate) fn release_rates(&self, now: Instant) {
        let Some(free) = &self.free else { return };
        free.rates.look(now, |place| {
            let ready_at = self.members.get(place)?.rate_ready_at(now);
            if ready_at.is_none() {
                self.update_index(place);
            }
            ready_at
        });
    }

    /// Returns the earliest time at which the rate of an upstream has room again, as far as it was
    /// looked at.
    pub(crate) fn rate_ready_at(&self) -> Option<Instant> {
        self.free.as_ref()?.rates.next_at()
    }

    pub(crate) const fn is_limited(&self) -> bool {
        self.free.is_some()
    }

    /// Whether no upstream has room for this kind, as far as the list has an index.
    pub(crate) fn is_full(&self, kind: AdmissionKind) -> bool {
        let free = self.free.as_ref();
        free.is_some_and(|free| free.of(kind).weights.total() == 0)
    }

    /// Whether draws can be uniform: all candidates have the same weight, and room.
    pub(super) fn is_uniform(&self, limits: Limits) -> bool {
        self.is_uniform
            && match (limits, &self.free) {
                (Limits::Ignored, _) | (_, None) => true,
                (Limits::Of(kind), Some(free)) => self
                    .used
                    .as_ref()
                    .is_some_and(|used| used.weights.total() == free.of(kind).weights.total()),
            }
    }

    /// Returns the weights from which to draw.
    pub(super) fn weights(&self, limits: Limits) -> Option<&WeightIndex> {
        match (limits, &self.free) {
            (Limits::Of(kind), Some(free)) => Some(&free.of(kind).weights),
            _ => self.used.as_ref().map(|used| &used.weights),
        }
    }

    /// Returns the mean weight of the upstreams in use, of which there are `count`.
    pub(super) fn mean_weight(&self, count: usize) -> f64 {
        let first = self.members.first().map_or(1, |member| member.weight());
        match &self.used {
            Some(used) if !self.is_uniform => {
                (used.weights.total() as f64 / count.max(1) as f64).max(f64::MIN_POSITIVE)
            }
            _ => f64::from(first.max(1)),
        }
    }

    pub(crate) fn place(&self, member: &Member) -> Option<usize> {
        let slot = member.slot();
        let listed = self.members.get(slot)?;
        listed.is_same_upstream(member).then_some(slot)
    }
}

#[cfg(test)]
impl CandidateList {
    /// Returns the total weight of the upstreams in use, if it is indexed.
    pub(crate) fn used_weight(&self) -> Option<u64> {
        self.used.as_ref().map(|used| used.weights.total())
    }
}

impl FreePlaces {
    const fn of(&self, kind: AdmissionKind) -> &DrawIndex {
        match kind {
            AdmissionKind::Tunnel => &self.tunnels,
            AdmissionKind::Exchange => &self.exchanges,
        }
    }
}

impl DrawIndex {
    fn new(members: &[Arc<Member>], limits: Limits) -> Self {
        let is_listed: Box<[_]> = members
            .iter()
            .map(|member| AtomicBool::new(is_listed(member, limits)))
            .collect();
        let weights = members.iter().zip(&is_listed).map(|(member, is_listed)| {
            match is_listed.load(Ordering::Relaxed) {
                true => member.weight(),
                false => 0,
            }
        });
        Self {
            limits,
            weights: WeightIndex::new(weights),
            is_listed,
        }
    }

    fn is_outdated(&self, place: usize, member: &Member) -> bool {
        let known = self.is_listed.get(place);
        known.is_some_and(|known| known.load(Ordering::Relaxed) != is_listed(member, self.limits))
    }

    fn flip(&self, place: usize, member: &Member) {
        if let Some(is_listed) = self.is_listed.get(place) {
            if is_listed.fetch_xor(true, Ordering::Relaxed) {
                self.weights.subtract(place, member.weight());
            } else {
                self.weights.add(place, member.weight());
            }
        }
    }
}

/// Whether the upstream is in use, and these limits leave room.
fn is_listed(member: &Member, limits: Limits) -> bool {
    member.is_used()
        && match limits {
            Limits::Of(kind) => !member.is_full(kind),
            Limits::Ignored => true,
        }
}

fn has_equal_weights(members: &[Arc<Member>]) -> bool {
    let first = members.first().map_or(0, |member| member.weight());
    first > 0 && members.iter().all(|member| member.weight() == first)
}
