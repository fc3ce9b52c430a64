//! Members of a pool at one moment. Pure.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use crate::{
    net::connect::Address,
    upstream::balance::CandidateList,
    upstream::{Member, Upstream},
};

/// List of members that picks read. It is never changed, only replaced.
#[derive(Debug, Default)]
pub(super) struct MemberSet {
    members: Arc<[Arc<Member>]>,
    /// Members that may be picked, by their priority; none is empty.
    tiers: Vec<Tier>,
}

/// Usable members of one priority level.
#[derive(Debug)]
pub(super) struct Tier {
    list: CandidateList,
    /// Share of the requests, from 0 to 1.
    share: f64,
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
    /// Creates the set, with the members that may be picked, and those that might be if they were
    /// healthy.
    pub(super) fn new<'a>(
        members: Arc<[Arc<Member>]>,
        usable: Vec<Arc<Member>>,
        open: impl Iterator<Item = &'a Arc<Member>>,
    ) -> Self {
        let level = |member: &Arc<Member>| member.upstream().level();
        let mut levels: BTreeMap<u32, Level> = BTreeMap::new();
        for member in open {
            levels.entry(level(member)).or_default().weight += u64::from(member.weight());
        }
        for member in usable {
            let level = levels.entry(level(&member)).or_default();
            level.usable_weight += u64::from(member.weight());
            level.usable.push(member);
        }
        Self {
            members,
            tiers: tiers(levels.into_values()),
        }
    }

    pub(super) const fn members(&self) -> &Arc<[Arc<Member>]> {
        &self.members
    }

    /// Returns the lists of members that may be picked, by their priority.
    pub(super) fn lists(&self) -> impl Iterator<Item = &CandidateList> {
        self.tiers.iter().map(|tier| &tier.list)
    }

    /// Returns the lists in the order in which a request is to try them: first the one that
    /// `random`, from 0 to 1, draws by their shares, then the others by their priority.
    pub(super) fn lists_for(
        &self,
        random: impl Fn() -> f64,
    ) -> impl Iterator<Item = &CandidateList> {
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
        lists.map(|tier| &tier.list)
    }

    /// Whether an upstream has a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.lists().any(CandidateList::is_limited)
    }

    /// Updates the index of free places after a change of the member's counts.
    pub(super) fn update_room(&self, member: &Member) {
        for list in self.lists() {
            list.update_room(member);
        }
    }

    /// Updates the whole index of free places.
    pub(super) fn update_all_rooms(&self) {
        self.lists().for_each(CandidateList::update_all_rooms);
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

/// Members of one priority level.
#[derive(Default)]
struct Level {
    usable: Vec<Arc<Member>>,
    usable_weight: u64,
    weight: u64,
}

/// Returns the tiers with their shares: each as much as its usable part can take, and the first of
/// them first; if all together cannot take everything, in proportion.
fn tiers(levels: impl Iterator<Item = Level>) -> Vec<Tier> {
    let mut left = 1.0;
    let mut tiers: Vec<_> = levels
        .filter(|level| !level.usable.is_empty())
        .map(|level| {
            let usable = level.usable_weight as f64 / level.weight.max(1) as f64;
            let share = (usable * OVERPROVISIONING).min(left);
            left -= share;
            Tier {
                list: CandidateList::new(level.usable),
                share,
            }
        })
        .collect();
    if left > 0.0 && left < 1.0 {
        for tier in &mut tiers {
            tier.share /= 1.0 - left;
        }
    }
    tiers
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
mod tests {
    use super::*;
    use crate::upstream::discovery::testing::upstreams;

    fn member(name: &str, level: u32, weight: u32) -> Arc<Member> {
        let upstream = Upstream::new(&format!("ws://{name}")).unwrap();
        Arc::new(Member::new(upstream.priority(level).weight(weight)))
    }

    #[test]
    fn a_tier_gets_what_the_usable_part_of_those_before_it_cannot_take() {
        // (usable, all) of the levels 0, 1 and 2, and their shares.
        let table = [
            ([(10, 10), (10, 10), (0, 0)], [1.0, 0.0, 0.0]),
            ([(8, 10), (10, 10), (0, 0)], [1.0, 0.0, 0.0]),
            ([(5, 10), (10, 10), (0, 0)], [0.7, 0.3, 0.0]),
            ([(0, 10), (10, 10), (0, 0)], [0.0, 1.0, 0.0]),
            ([(5, 10), (1, 10), (10, 10)], [0.7, 0.14, 0.16]),
            ([(1, 10), (1, 10), (0, 10)], [0.5, 0.5, 0.0]),
            ([(1, 10), (0, 10), (0, 10)], [1.0, 0.0, 0.0]),
        ];
        for (levels, shares) in table {
            let mut usable = Vec::new();
            let mut open = Vec::new();
            for (level, (up, all)) in (0..).zip(levels) {
                if up > 0 {
                    usable.push(member(&format!("up-{level}"), level, up));
                    open.push(Arc::clone(&usable[usable.len() - 1]));
                }
                open.push(member(&format!("down-{level}"), level, all - up));
            }
            let set = MemberSet::new(open.clone().into(), usable, open.iter());
            let got: Vec<_> = set.tiers.iter().map(|tier| tier.share).collect();
            let wanted: Vec<_> = shares
                .into_iter()
                .zip(levels)
                .filter_map(|(share, (up, _))| (up > 0).then_some(share))
                .collect();
            assert_eq!(got.len(), wanted.len());
            for (got, wanted) in got.iter().zip(&wanted) {
                assert!(
                    (got - wanted).abs() < 1e-9,
                    "{levels:?}: {got}, not {wanted}"
                );
            }
        }
    }

    #[test]
    fn a_set_in_another_order_is_the_same_set() {
        let current = upstreams(&["a", "b", "c"]);
        for (new, expected) in [
            (&["c", "a", "b"][..], &["a", "b", "c"][..]),
            (&["c", "a", "b", "a"], &["a", "b", "c"]),
            (&["c", "a"], &["c", "a"]),
            (&["c", "a", "b", "d"], &["c", "a", "b", "d"]),
            (&["d", "a", "b"], &["d", "a", "b"]),
            (&[], &[]),
        ] {
            let found = unless_same_set(current.clone(), upstreams(new));
            assert_eq!(found, upstreams(expected));
        }
        let mut heavier = upstreams(&["c", "b", "a"]);
        heavier[0] = heavier[0].clone().weight(2);
        assert_eq!(unless_same_set(current, heavier.clone()), heavier);
    }
}
