//! Queue of due probes.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use tokio::time::Instant;

use crate::upstream::{Member, MemberHealth};

/// Members of a pool in the order of their next probe: the most overdue first, so that none
/// starves, however long other probes take.
#[derive(Debug, Default)]
pub(super) struct ProbeQueue {
    members: Arc<[Arc<Member>]>,
    /// Due time and index of each member. Entries may be outdated.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    is_stale: bool,
}

impl ProbeQueue {
    pub(super) fn of(members: &Arc<[Arc<Member>]>) -> Self {
        let due = members
            .iter()
            .enumerate()
            .filter_map(|(index, member)| Some(Reverse((due(member)?, index))))
            .collect();
        Self {
            members: Arc::clone(members),
            due,
            is_stale: false,
        }
    }

    /// Whether the queue is for these members and up to date.
    pub(super) fn is_current_for(&self, members: &Arc<[Arc<Member>]>) -> bool {
        !self.is_stale && Arc::ptr_eq(&self.members, members)
    }

    /// Adds a member again after its probe.
    pub(super) fn insert(&mut self, index: usize, member: &Arc<Member>) {
        let is_here = self
            .members
            .get(index)
            .is_some_and(|known| Arc::ptr_eq(known, member));
        if !is_here {
            // The set has changed meanwhile; the member may have another index.
            self.is_stale = true;
        } else if let Some(at) = due(member) {
            self.due.push(Reverse((at, index)));
        }
    }

    /// Removes the next member that is due, with its index, and starts its probe.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(usize, Arc<Member>)> {
        while self.next_at()? <= now {
            let Reverse((_, index)) = self.due.pop()?;
            let member = self.members.get(index)?;
            let starts = |health: &mut Option<MemberHealth>| {
                let health = health.as_mut();
                health.is_some_and(|health| health.probe_times.start(now))
            };
            if member.with_health(starts) {
                return Some((index, Arc::clone(member)));
            }
        }
        None
    }

    /// Returns when the next probe is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }
}

fn due(member: &Member) -> Option<Instant> {
    member.with_health(|health| health.as_ref()?.probe_times.due())
}
