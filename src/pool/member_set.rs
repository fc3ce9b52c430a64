//! Members of a pool at one moment. Pure.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use crate::{
    net::connect::Address,
    upstream::balance::CandidateList,
    upstream::{Member, Upstream},
};

/// Set of members that picks read. It is never changed, only replaced; a change of health replaces
/// nothing but the places that are left out.
#[derive(Debug, Default)]
pub(super) struct MemberSet {
    members: Arc<[Arc<Member>]>,
    /// Members that are open to clients, by their priority.
    tiers: Vec<Tier>,
    /// Whether an unhealthy member may be picked for want of a better one.
    has_last_resort: bool,
}

/// Open members of one priority level.
#[derive(Debug)]
pub(super) struct Tier {
    list: Arc<CandidateList>,
    /// Places of the members that are not in use, in ascending order.
    left_out: Vec<usize>,
    usable_weight: u64,
    weight: u64,
    /// Share of the requests, from 0 to 1.
    share: f64,
}

/// Members of one priority level that may be picked.
#[derive(Clone, Copy, Debug)]
pub(super) struct UsableList<'a> {
    pub(super) list: &'a CandidateList,
    left_out: &'a [usize],
}

/// Factor by which a tier's capacity exceeds its need, as in Envoy.
const OVERPROVISIONING: f64 = 1.4;

/// Difference that an edit makes.
#[derive(Debug)]
pub(super) struct MemberDiff {
    pub(super) members: Vec<Arc<Member>>,
    /// Members that are new.
    pub(super) added: Vec<Arc<Member>>,
    /// Members whose settings have changed.
    pub(super) changed: Vec<Arc<Member>>,
    /// Members that were removed.
    pub(super) removed: Vec<Arc<Member>>,
}

impl MemberSet {
    /// Creates the set of these members, of which those [in use](Member::is_used) may be picked.
    pub(super) fn new(members: Arc<[Arc<Member>]>, has_last_resort: bool) -> Self {
        let mut levels: BTreeMap<u32, Vec<Arc<Member>>> = BTreeMap::new();
        for member in members.iter().filter(|member| member.is_open()) {
            let level = levels.entry(member.upstream().level()).or_default();
            level.push(Arc::clone(member));
        }
        let mut tiers: Vec<_> = levels.into_values().map(Tier::new).collect();
        divide(&mut tiers);
        Self {
            members,
            tiers,
            has_last_resort,
        }
    }

    /// Returns the set after changes of the use of these members.
    pub(super) fn with_changed_use(&self, changed: &[Arc<Member>], has_last_resort: bool) -> Self {
        let tiers = self.tiers.iter();
        let mut tiers: Vec<_> = tiers.map(|tier| tier.with_changed_use(changed)).collect();
        divide(&mut tiers);
        Self {
            members: Arc::clone(&self.members),
            tiers,
            has_last_resort,
        }
    }

    pub(super) const fn members(&self) -> &Arc<[Arc<Member>]> {
        &self.members
    }

    pub(super) const fn has_last_resort(&self) -> bool {
        self.has_last_resort
    }

    /// Returns the member with the newest settings of the same upstream, if it is open to clients.
    pub(super) fn open_member(&self, member: &Member) -> Option<&Arc<Member>> {
        let mut lists = self.tiers.iter().map(|tier| &tier.list);
        lists.find_map(|list| list.members().get(list.place(member)?))
    }

    /// Returns the lists of members that may be picked, by their priority.
    pub(super) fn lists(&self) -> impl Iterator<Item = UsableList<'_>> {
        self.tiers.iter().map(Tier::usable)
    }

    /// Returns the lists in the order in which a request is to try them: first the one that
    /// `random`, from 0 to 1, draws by their shares, then the others by their priority.
    pub(super) fn lists_for(
        &self,
        random: impl Fn() -> f64,
    ) -> impl Iterator<Item = UsableList<'_>> {
        let first = match &*self.tiers {
            [] => 0,
            [first, ..] if first.share >= 1.0 => 0,
            tiers => drawn_tier(tiers, random()),
        };
        let others = self.tiers.iter().enumerate();
        let others = others.filter(move |(index, _)| *index != first);
        let lists = self
            .tiers
            .get(first)
            .into_iter()
            .chain(others.map(|(_, tier)| tier));
        lists.map(Tier::usable)
    }

    /// Whether an upstream has a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.tiers.iter().any(|tier| tier.list.is_limited())
    }

    /// Updates the index of free places after a change of the member's counts.
    pub(super) fn update_room(&self, member: &Member) {
        for tier in &self.tiers {
            tier.list.update_room(member);
        }
    }

    /// Updates the whole index of free places.
    pub(super) fn update_all_rooms(&self) {
        for tier in self.tiers.iter().filter(|tier| tier.list.is_limited()) {
            tier.list.update_places(0..tier.list.members().len());
        }
    }

    /// Returns the member of this name.
    pub(super) fn by_name(&self, name: &str) -> Option<&Arc<Member>> {
        let mut members = self.members.iter();
        members.find(|member| member.upstream().name() == name)
    }

    /// Returns the set with exactly these upstreams, in their order; the first of several at the
    /// same address counts. `None` if nothing changes.
    ///
    /// A member whose upstream stays is kept as it is. A member whose address stays but whose
    /// settings change keeps its state, and so does one that `remembered` returns.
    pub(super) fn replace(
        &self,
        upstreams: Vec<Upstream>,
        mut remembered: impl FnMut(&Upstream) -> Option<Arc<Member>>,
    ) -> Option<MemberDiff> {
        let known: HashMap<&Address, &Arc<Member>> = self
            .members
            .iter()
            .map(|member| (member.upstream().address(), member))
            .collect();
        let mut addresses = HashSet::with_capacity(upstreams.len());
        let mut members: Vec<Arc<Member>> = Vec::with_capacity(upstreams.len());
        let (mut added, mut changed) = (Vec::new(), Vec::new());
        for upstream in upstreams {
            if !addresses.insert(upstream.address().clone()) {
                continue;
            }
            let member = match known.get(upstream.address()) {
                Some(known) if *known.upstream() == upstream => Arc::clone(known),
                Some(known) => {
                    changed.push(Arc::new(known.changed(upstream)));
                    Arc::clone(&changed[changed.len() - 1])
                }
                None => {
                    added.push(added_member(remembered(&upstream), upstream));
                    Arc::clone(&added[added.len() - 1])
                }
            };
            members.push(member);
        }
        let is_same = members.len() == self.members.len()
            && members
                .iter()
                .zip(&*self.members)
                .all(|(new, old)| Arc::ptr_eq(new, old));
        if is_same {
            return None;
        }
        let is_gone = |old: &&Arc<Member>| !addresses.contains(old.upstream().address());
        let removed = self.members.iter().filter(is_gone).cloned().collect();
        Some(MemberDiff {
            members,
            added,
            changed,
            removed,
        })
    }
}

impl Tier {
    fn new(open: Vec<Arc<Member>>) -> Self {
        let list = CandidateList::new(open);
        let weight = |member: &Arc<Member>| u64::from(member.weight());
        let used = list.members().iter().filter(|member| member.is_used());
        Self {
            usable_weight: used.map(weight).sum(),
            weight: list.members().iter().map(weight).sum(),
            left_out: (0..)
                .zip(list.members())
                .filter_map(|(place, member)| (!member.is_used()).then_some(place))
                .collect(),
            list: Arc::new(list),
            share: 0.0,
        }
    }

    fn usable(&self) -> UsableList<'_> {
        UsableList {
            list: &self.list,
            left_out: &self.left_out,
        }
    }

    /// Returns the tier with the same list, in which those of the changed members that are not in use
    /// are left out, and no others of them.
    fn with_changed_use(&self, changed: &[Arc<Member>]) -> Self {
        let places = changed.iter().filter_map(|member| self.list.place(member));
        let mut places: Vec<_> = places.collect();
        self.list.update_places(places.iter().copied());
        places.sort_unstable();
        places.dedup();
        let mut left_out = Vec::with_capacity(self.left_out.len() + places.len());
        let mut usable_weight = self.usable_weight;
        // The places between two changes are copied as they are.
        let mut rest = &*self.left_out;
        for place in places {
            let Some(member) = self.list.members().get(place) else {
                continue;
            };
            let (before, from) = rest.split_at(rest.partition_point(|other| *other < place));
            left_out.extend_from_slice(before);
            let after = from.strip_prefix(&[place]);
            rest = after.unwrap_or(from);
            let (was_used, is_used) = (after.is_none(), member.is_used());
            if !is_used {
                left_out.push(place);
            }
            let weight = u64::from(member.weight());
            usable_weight = match (was_used, is_used) {
                (true, false) => usable_weight.saturating_sub(weight),
                (false, true) => usable_weight + weight,
                _ => usable_weight,
            };
        }
        left_out.extend_from_slice(rest);
        Self {
            list: Arc::clone(&self.list),
            left_out,
            usable_weight,
            ..*self
        }
    }
}

impl<'a> UsableList<'a> {
    /// Returns the places that are not to be picked, in ascending order: those that are left out,
    /// and those of `tried`. `None` if no other place is left.
    pub(super) fn skipped(self, tried: &[Arc<Member>]) -> Option<Cow<'a, [usize]>> {
        let mut skipped = Cow::Borrowed(self.left_out);
        for place in tried.iter().filter_map(|member| self.list.place(member)) {
            if let Err(index) = skipped.binary_search(&place) {
                skipped.to_mut().insert(index, place);
            }
        }
        (skipped.len() < self.list.members().len()).then_some(skipped)
    }
}

/// Divides the requests among the tiers: each gets as much as its usable part can take, and the
/// first of them first; if all together cannot take everything, in proportion.
fn divide(tiers: &mut [Tier]) {
    let mut left = 1.0;
    for tier in &mut *tiers {
        let usable = tier.usable_weight as f64 / tier.weight.max(1) as f64;
        tier.share = (usable * OVERPROVISIONING).min(left);
        left -= tier.share;
    }
    if left > 0.0 && left < 1.0 {
        for tier in tiers {
            tier.share /= 1.0 - left;
        }
    }
}

fn drawn_tier(tiers: &[Tier], random: f64) -> usize {
    let mut left = random;
    let is_drawn = |tier: &Tier| {
        left -= tier.share;
        left < 0.0
    };
    tiers.iter().position(is_drawn).unwrap_or(0)
}

/// Returns the upstreams of an edit by a set, whose order means nothing: the current ones if the new
/// ones are the same in another order.
///
/// So policies that go by positions are not disturbed by sources whose sets come in any order.
pub(super) fn unless_same_set(current: Vec<Upstream>, new: Vec<Upstream>) -> Vec<Upstream> {
    let known: HashMap<&Address, &Upstream> = current
        .iter()
        .map(|upstream| (upstream.address(), upstream))
        .collect();
    let mut addresses = HashSet::with_capacity(new.len());
    let is_same = new.iter().all(|upstream| {
        // The first of several at the same address counts.
        !addresses.insert(upstream.address()) || known.get(upstream.address()) == Some(&upstream)
    });
    match is_same && addresses.len() == current.len() {
        true => current,
        false => new,
    }
}

fn added_member(remembered: Option<Arc<Member>>, upstream: Upstream) -> Arc<Member> {
    match remembered {
        Some(member) if *member.upstream() == upstream => member,
        Some(member) => Arc::new(member.changed(upstream)),
        None => Arc::new(Member::new(upstream)),
    }
}

#[cfg(test)]
mod tests;
