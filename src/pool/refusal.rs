//! Reasons for which no upstream can be leased now. Pure.

use std::sync::Arc;

use crate::{upstream::Member, upstream::admission::LimitReached};

use super::queue::{RefusalScope, Refused};

/// Reason why no upstream can be leased now.
pub(super) enum Refusal {
    None,
    LimitReached(Limited),
}

/// Limit of the upstream that would have been picked, or of the pool.
pub(super) struct Limited {
    pub(super) limit: LimitReached,
    pub(super) scope: RefusalScope,
    wanted: Option<Arc<str>>,
}

impl Refusal {
    /// Combines the refusals of two lists of upstreams.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::LimitReached(one), Self::LimitReached(other)) => Self::LimitReached(Limited {
                limit: one.limit.and(other.limit),
                scope: match one.scope {
                    RefusalScope::AllWaiters => other.scope,
                    RefusalScope::ThisWaiter => one.scope,
                },
                wanted: one.wanted.or(other.wanted),
            }),
            (Self::None, other) | (other, Self::None) => other,
        }
    }
}

impl Refusal {
    /// Returns the refusal by a limit that keeps all waiters waiting.
    pub(super) const fn exhausted(limit: LimitReached) -> Self {
        Self::LimitReached(Limited {
            limit,
            scope: RefusalScope::AllWaiters,
            wanted: None,
        })
    }

    /// Returns the refusal for the queue; `None` if waiting is of no use.
    pub(super) fn queued(self) -> Option<Refused> {
        match self {
            Self::None => None,
            Self::LimitReached(limited) => Some(limited.refused()),
        }
    }
}

impl Limited {
    pub(super) fn refused(self) -> Refused {
        Refused {
            // Where all are full, it makes no difference which was wanted.
            wanted: self
                .wanted
                .filter(|_| self.scope == RefusalScope::ThisWaiter),
            kind: self.limit.kind,
            scope: self.scope,
            retry_at: self.limit.retry_at,
        }
    }
}

pub(super) fn limited(wanted: &Member, limit: LimitReached, scope: RefusalScope) -> Refusal {
    Refusal::LimitReached(Limited {
        limit,
        scope,
        wanted: Some(wanted.shared_name()),
    })
}
