//! The two legs of a tunnel, as an index.

use std::ops::{Index, IndexMut};

use crate::error::Side;

/// One of the two legs. [`Side`] has a third value, the proxy, which has no leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LegId {
    Client,
    Upstream,
}

impl LegId {
    pub(super) const BOTH: [Self; 2] = [Self::Client, Self::Upstream];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }
}

impl From<LegId> for Side {
    fn from(leg: LegId) -> Self {
        match leg {
            LegId::Client => Self::Client,
            LegId::Upstream => Self::Upstream,
        }
    }
}

/// One value for each leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pair<T> {
    client: T,
    upstream: T,
}

impl<T> Pair<T> {
    pub(super) fn new(mut make: impl FnMut(LegId) -> T) -> Self {
        Self {
            client: make(LegId::Client),
            upstream: make(LegId::Upstream),
        }
    }

    pub(super) fn map<U>(self, mut change: impl FnMut(LegId, T) -> U) -> Pair<U> {
        Pair {
            client: change(LegId::Client, self.client),
            upstream: change(LegId::Upstream, self.upstream),
        }
    }

    /// Borrows the value of this leg, then that of the other.
    pub(super) fn split_mut(&mut self, leg: LegId) -> (&mut T, &mut T) {
        match leg {
            LegId::Client => (&mut self.client, &mut self.upstream),
            LegId::Upstream => (&mut self.upstream, &mut self.client),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        [&self.client, &self.upstream].into_iter()
    }
}

/// Makes a pair of the client's value and the upstream's, in this order.
impl<T> From<[T; 2]> for Pair<T> {
    fn from([client, upstream]: [T; 2]) -> Self {
        Self { client, upstream }
    }
}

impl<T> Index<LegId> for Pair<T> {
    type Output = T;

    #[inline]
    fn index(&self, leg: LegId) -> &T {
        match leg {
            LegId::Client => &self.client,
            LegId::Upstream => &self.upstream,
        }
    }
}

impl<T> IndexMut<LegId> for Pair<T> {
    #[inline]
    fn index_mut(&mut self, leg: LegId) -> &mut T {
        match leg {
            LegId::Client => &mut self.client,
            LegId::Upstream => &mut self.upstream,
        }
    }
}
