//! Queue of handshakes that wait for a limit: in groups by what they wait for, and first come, first
//! served within each.
//!
//! ```text
//!           called ──► tries ──► leaves the queue, with a lease or without
//!             ▲          │                                │
//!             │          ▼                                ▼
//! arrives ─► waits ◄── refused ── others may succeed ──► calls the next
//! ```
//!
//! A group consists of the waiters that can use the same upstreams: those for which the policy names
//! the same [group](crate::balance::Balance::queue_group); else those of a route that were refused for want of the
//! same upstream, or that found all of them full. Only the first waiter of a group tries, so an event
//! costs as many tries as there are groups, however many wait.
//!
//! Whenever a limit may have room, the longest waiting of the groups' first waiters is called; it
//! tries only after those that wait longer had a turn. If it fails for a reason of its own, it calls
//! the next group's; if the reason concerns all, no other waiter needs to try.
//!
//! `ticket` has the [`Queue`] and those who wait in it, `waiters` (pure) their order, `group_key` (pure)
//! what they wait for.

mod group_key;
mod ticket;
mod waiters;

#[cfg(test)]
mod tests;

pub(super) use self::{
    group_key::{GroupKey, RefusalScope, Refused},
    ticket::Queue,
};
