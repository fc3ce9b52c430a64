//! Account of a drain: how its tunnels and requests ended.

/// Result of a drain: the number of tunnels and requests by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Tunnels that ended in order, within their close timeout and the deadline.
    pub closed: usize,
    /// Tunnels of which a leg was cut off: at the deadline, because it did not answer our close
    /// frame within the close timeout, because it was lost, or inside a frame that never ended.
    pub aborted: usize,
    /// Forwarded requests whose responses were cut off at the deadline.
    pub aborted_requests: usize,
}
