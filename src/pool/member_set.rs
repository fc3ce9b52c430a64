//! Members of a pool at one moment. Pure.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    net::connect::Address,
    upstream::{Member, Upstream},
};

/// List of members that picks read. It is never changed, only replaced.
#[derive(Debug, Default)]
pub(super) struct MemberSet {
    members: Arc<[Arc<Member>]>,
    /// Members that may be picked, by their health.
    usable: Vec<Arc<Member>>,
}

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
    pub(super) fn new(members: Arc<[Arc<Member>]>, usable: Vec<Arc<Member>>) -> Self {
        Self { members, usable }
    }

    pub(super) const fn members(&self) -> &Arc<[Arc<Member>]> {
        &self.members
    }

    pub(super) fn usable(&self) -> &[Arc<Member>] {
        &self.usable
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

fn added_member(remembered: Option<Arc<Member>>, upstream: Upstream) -> Arc<Member> {
    match remembered {
        Some(member) if *member.upstream() == upstream => member,
        Some(member) => Arc::new(member.changed(upstream)),
        None => Arc::new(Member::new(upstream)),
    }
}
