//! What a policy sees.

use std::{fmt, sync::Arc};

use crate::upstream::Member;

/// The upstreams that may be picked for this request.
#[derive(Clone, Copy)]
pub struct Candidates<'a>(&'a [Arc<Member>]);

/// One upstream that may be picked, with its figures at this moment.
#[derive(Clone, Copy)]
pub struct Candidate<'a>(&'a Member);

impl<'a> Candidates<'a> {
    pub(crate) const fn new(members: &'a [Arc<Member>]) -> Self {
        Self(members)
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
        self.0.get(index).map(|member| Candidate(member))
    }

    /// All of them, in the pool's order.
    pub fn iter(&self) -> impl Iterator<Item = Candidate<'a>> + use<'a> {
        self.0.iter().map(|member| Candidate(member))
    }
}

impl<'a> Candidate<'a> {
    /// The upstream's name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.0.upstream().name()
    }

    /// Tunnels that are open to it now, those included that are still shaking hands.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.0.tunnels()
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
