//! Groups of waiters, by what they wait for. Pure.

use std::sync::Arc;

use tokio::time::Instant;

use crate::error::ErrorKind;

/// Group of the waiters that can use the same upstreams.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::pool) struct GroupKey {
    /// Identity of the route's policy, which lives as long as its waiters.
    pub(super) route: usize,
    /// Upstreams that were tried for the request already.
    tried: Vec<Arc<str>>,
    pub(super) needs: Needs,
}

/// Upstreams that the waiters of a group can use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Needs {
    /// Those of the group that the policy has named.
    Declared(Arc<str>),
    /// Those that the policy picks where it would pick this one, if it had room.
    Like(Arc<str>),
    /// Any, or not known yet.
    Any,
}

/// Waiters that a refusal concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum RefusalScope {
    /// No waiter would be admitted now.
    AllWaiters,
    /// Other waiters may be admitted, as they can use other upstreams.
    ThisWaiter,
}

/// Try without success.
#[derive(Clone, Debug)]
pub(in crate::pool) struct Refused {
    /// Upstream that would have been picked if it had room, if others have.
    pub(in crate::pool) wanted: Option<Arc<str>>,
    pub(in crate::pool) kind: ErrorKind,
    pub(in crate::pool) scope: RefusalScope,
    /// Time at which another try can succeed without an event.
    pub(in crate::pool) retry_at: Option<Instant>,
}

impl GroupKey {
    pub(in crate::pool) fn new(
        route: usize,
        declared: Option<String>,
        tried: impl Iterator<Item = Arc<str>>,
    ) -> Self {
        let mut tried: Vec<_> = tried.collect();
        tried.sort_unstable();
        Self {
            route,
            tried,
            needs: declared.map_or(Needs::Any, |group| Needs::Declared(group.into())),
        }
    }

    /// Returns the group of a waiter of this group that was refused.
    pub(super) fn refused(&self, refused: &Refused) -> Self {
        let needs = match (&self.needs, &refused.wanted) {
            (Needs::Declared(_), _) | (_, None) => self.needs.clone(),
            (_, Some(wanted)) => Needs::Like(Arc::clone(wanted)),
        };
        Self {
            needs,
            tried: self.tried.clone(),
            ..*self
        }
    }
}

impl Refused {
    /// Whether time alone does not end the refusal.
    pub(super) const fn is_lasting(&self) -> bool {
        self.retry_at.is_none()
    }
}
