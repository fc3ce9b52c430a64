//! Who is probed next.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use tokio::time::Instant;

use crate::upstream::{Member, Watch};

/// The members of a pool in the order in which they are due: who is most overdue comes first, so
/// nobody waits for ever, however long others take.
#[derive(Debug, Default)]
pub(super) struct Line {
    members: Arc<[Arc<Member>]>,
    /// When, and where in the list. May hold what is not true any more.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    is_stale: bool,
}

impl Line {
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

    /// Whether it is a line of these, and all stand in it who are due one day.
    pub(super) fn is_of(&self, members: &Arc<[Arc<Member>]>) -> bool {
        !self.is_stale && Arc::ptr_eq(&self.members, members)
    }

    /// Puts one in again who has been probed and stood in this place.
    pub(super) fn join(&mut self, place: usize, member: &Arc<Member>) {
        let is_here = self
            .members
            .get(place)
            .is_some_and(|known| Arc::ptr_eq(known, member));
        if !is_here {
            // The pool has changed meanwhile; it may be a member in another place.
            self.is_stale = true;
        } else if let Some(at) = due(member) {
            self.due.push(Reverse((at, place)));
        }
    }

    /// Takes out the next one who is to be probed now, with its place, and counts the probe as
    /// begun.
    pub(super) fn next(&mut self, now: Instant) -> Option<(usize, Arc<Member>)> {
        while self.next_at()? <= now {
            let Reverse((_, place)) = self.due.pop()?;
            let member = self.members.get(place)?;
            let starts = |watch: &mut Option<Watch>| {
                let watch = watch.as_mut();
                watch.is_some_and(|watch| watch.times.start(now))
            };
            if member.with_watch(starts) {
                return Some((place, Arc::clone(member)));
            }
        }
        None
    }

    /// When the next one is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }
}

fn due(member: &Member) -> Option<Instant> {
    member.with_watch(|watch| watch.as_ref()?.times.due())
}
