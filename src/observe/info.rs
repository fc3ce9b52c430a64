//! The subjects of an observer's methods, apart from tunnels.

use std::{fmt, time::Duration};

use crate::error::ErrorKind;

/// A handshake or a forwarded request, as observers see it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestInfo<'a> {
    /// The path that the client asked for, without its query.
    pub path: &'a str,
    /// The upstream, once picked.
    pub upstream: Option<&'a str>,
    /// Time since the request arrived.
    pub elapsed: Duration,
    /// Time from the pick of the upstream until it was connected, TLS included; close to zero on a
    /// connection that was open already, and `None` without one.
    pub connect: Option<Duration>,
}

/// An upstream of a pool, as observers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct UpstreamInfo<'a> {
    /// The [name](crate::pool::PoolBuilder::name) of its pool; `None` if the pool has none.
    pub pool: Option<&'a str>,
    /// The name of the upstream, which is unique in its pool.
    pub name: &'a str,
}

impl<'a> UpstreamInfo<'a> {
    /// Creates the description of an upstream, for tests of an observer.
    #[must_use]
    pub const fn new(pool: Option<&'a str>, name: &'a str) -> Self {
        Self { pool, name }
    }
}

/// A handshake's wait in the queue of its pool ([`PoolBuilder::queue`](crate::pool::PoolBuilder::queue)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueWait<'a> {
    /// The [name](crate::pool::PoolBuilder::name) of the pool; `None` if it has none.
    pub pool: Option<&'a str>,
    /// Time from its arrival in the queue.
    pub waited: Duration,
    /// Why the handshake got no upstream; `None` if it got one.
    pub rejected: Option<ErrorKind>,
}

impl<'a> QueueWait<'a> {
    pub(crate) const fn new(
        pool: Option<&'a str>,
        waited: Duration,
        rejected: Option<ErrorKind>,
    ) -> Self {
        Self {
            pool,
            waited,
            rejected,
        }
    }
}

/// A change of an upstream in its pool, apart from its health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MembershipChange {
    /// The upstream was added to the pool.
    Added,
    /// Its weight, tags or limits were changed.
    Changed,
    /// The upstream was removed from the pool: it gets no new tunnels.
    Removed,
    /// The upstream is being [drained](crate::Pool::drain): it gets no new tunnels.
    Draining,
    /// The upstream's drain was [ended](crate::Pool::resume).
    Resumed,
}

impl MembershipChange {
    /// The change as a [slug](crate#slugs), such as `added`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Draining => "draining",
            Self::Resumed => "resumed",
        }
    }
}

impl fmt::Display for MembershipChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
