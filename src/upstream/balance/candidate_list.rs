//! List of upstreams that policies choose from, indexed by weight and by free places.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering, fence},
};

use crate::{
    lock::lock,
    upstream::{admission::AdmissionKind, member::Member},
};

use super::weight_index::WeightIndex;

/// Limits that a pick respects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limits {
    /// Those of this kind of admission.
    Of(AdmissionKind),
    Ignored,
}

/// List of upstreams that policies choose from. The list never changes; its index of those with
/// free places does.
#[derive(Debug, Default)]
pub(crate) struct CandidateList {
    members: Vec<Arc<Member>>,
    /// Whether all weights are the same, and not zero.
    is_uniform: bool,
    /// `None` if draws need no index, or if the list is for a single pick.
    weights: Option<WeightIndex>,
    /// `None` if no upstream has a limit.
    free: Option<FreePlaces>,
}

/// Weights of the upstreams whose limits leave room, by kind of admission.
#[derive(Debug)]
struct FreePlaces {
    tunnels: FreeIndex,
    exchanges: FreeIndex,
    /// Held during changes.
    change: Mutex<()>,
}

#[derive(Debug)]
struct FreeIndex {
    kind: AdmissionKind,
    weights: WeightIndex,
    is_free: Box<[AtomicBool]>,
}

impl CandidateList {
    /// Creates a list with its index, and lets the members know their places in it.
    pub(crate) fn new(members: Vec<Arc<Member>>) -> Self {
        for (slot, member) in members.iter().enumerate() {
            member.set_slot(slot);
        }
        let is_uniform = has_equal_weights(&members);
        let is_limited = members.iter().any(|member| member.admission().is_limited());
        let weights = || WeightIndex::new(members.iter().map(|member| member.weight()));
        Self {
            is_uniform,
            weights: (!is_uniform || is_limited).then(weights),
            free: is_limited.then(|| FreePlaces::new(&members)),
            members,
        }
    }

    /// Creates a list for a single pick, of members that have been found to have room.
    pub(crate) fn unindexed(members: Vec<Arc<Member>>) -> Self {
        Self {
            is_uniform: has_equal_weights(&members),
            members,
            weights: None,
            free: None,
        }
    }

    pub(crate) fn into_members(self) -> Vec<Arc<Member>> {
        self.members
    }

    pub(crate) fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// Returns the places of these members, in ascending order, without those that are not listed.
    pub(crate) fn places(&self, of: &[Arc<Member>]) -> Vec<usize> {
        let mut places: Vec<_> = of.iter().filter_map(|member| self.place(member)).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Updates the index after a change of the member's counts.
    pub(crate) fn update_room(&self, member: &Member) {
        if let (Some(free), Some(place)) = (&self.free, self.place(member)) {
            // The listed member has the newest limits.
            if let Some(listed) = self.members.get(place) {
                free.update(place, listed);
            }
        }
    }

    /// Updates the whole index.
    pub(crate) fn update_all_rooms(&self) {
        if let Some(free) = &self.free {
            for (place, member) in self.members.iter().enumerate() {
                free.update(place, member);
            }
        }
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
                    .weights
                    .as_ref()
                    .is_some_and(|weights| weights.total() == free.of(kind).weights.total()),
            }
    }

    /// Returns the weights from which to draw.
    pub(super) fn weights(&self, limits: Limits) -> Option<&WeightIndex> {
        match (limits, &self.free) {
            (Limits::Of(kind), Some(free)) => Some(&free.of(kind).weights),
            _ => self.weights.as_ref(),
        }
    }

    pub(super) fn mean_weight(&self) -> f64 {
        let first = self.members.first().map_or(1, |member| member.weight());
        match &self.weights {
            Some(weights) if !self.is_uniform => {
                (weights.total() as f64 / self.members.len() as f64).max(f64::MIN_POSITIVE)
            }
            _ => f64::from(first.max(1)),
        }
    }

    fn place(&self, member: &Member) -> Option<usize> {
        let slot = member.slot();
        let listed = self.members.get(slot)?;
        listed.is_same_upstream(member).then_some(slot)
    }
}

impl FreePlaces {
    fn new(members: &[Arc<Member>]) -> Self {
        Self {
            tunnels: FreeIndex::new(members, AdmissionKind::Tunnel),
            exchanges: FreeIndex::new(members, AdmissionKind::Exchange),
            change: Mutex::default(),
        }
    }

    const fn of(&self, kind: AdmissionKind) -> &FreeIndex {
        match kind {
            AdmissionKind::Tunnel => &self.tunnels,
            AdmissionKind::Exchange => &self.exchanges,
        }
    }

    fn update(&self, place: usize, member: &Member) {
        for index in [&self.tunnels, &self.exchanges] {
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
}

impl FreeIndex {
    fn new(members: &[Arc<Member>], kind: AdmissionKind) -> Self {
        let is_free: Box<[_]> = members
            .iter()
            .map(|member| AtomicBool::new(!member.is_full(kind)))
            .collect();
        let weights = members.iter().zip(&is_free).map(|(member, is_free)| {
            match is_free.load(Ordering::Relaxed) {
                true => member.weight(),
                false => 0,
            }
        });
        Self {
            kind,
            weights: WeightIndex::new(weights),
            is_free,
        }
    }

    fn is_outdated(&self, place: usize, member: &Member) -> bool {
        let is_free = self.is_free.get(place);
        is_free.is_some_and(|is_free| is_free.load(Ordering::Relaxed) == member.is_full(self.kind))
    }

    fn flip(&self, place: usize, member: &Member) {
        if let Some(is_free) = self.is_free.get(place) {
            if is_free.fetch_xor(true, Ordering::Relaxed) {
                self.weights.subtract(place, member.weight());
            } else {
                self.weights.add(place, member.weight());
            }
        }
    }
}

fn has_equal_weights(members: &[Arc<Member>]) -> bool {
    let first = members.first().map_or(0, |member| member.weight());
    first > 0 && members.iter().all(|member| member.weight() == first)
}
