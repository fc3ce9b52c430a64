//! Bytes that wait for the sink.

use tokio::time::Instant;

use crate::{frame::EncodedControl, tunnel::track::Position};

/// Delivered bytes from which on their memory is released.
const MIN_RELEASE: usize = 4 * 1024;

/// Bytes that the sink has still to take. Exists only while the sink stalls, or while a close frame
/// of ours waits for a boundary.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    delivered: usize,
    /// The number of bytes, of those that the sink has still to take first, that are messages of the
    /// proxy to this sink alone.
    own: usize,
    /// Bytes that were taken since this began to exist.
    taken: u64,
    /// When the sink last took any of them.
    last_taken: Option<Instant>,
    /// Since when the sink has taken nothing, or has not sent what it buffers.
    pub(super) stalled_since: Option<Instant>,
    /// A close frame of ours that waits for a frame boundary.
    pub(super) close: Option<EncodedControl>,
    /// Position of the first of the bytes in the stream, where the tunnel may get another upstream.
    pub(super) position: Option<Position>,
    /// The most bytes that are held while there is no sink.
    pub(super) limit: usize,
}

impl Outgoing {
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.delivered..).unwrap_or_default()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Puts messages of the proxy before the bytes of the source. The sink must have taken none of
    /// these.
    pub(super) fn put_first(&mut self, own: Vec<u8>) {
        self.own = own.len();
        let bytes = std::mem::replace(&mut self.bytes, own);
        self.bytes
            .extend_from_slice(bytes.get(self.delivered..).unwrap_or_default());
        self.delivered = 0;
    }

    /// Whether messages of the proxy to this sink alone are still to be taken.
    pub(super) const fn has_own(&self) -> bool {
        self.own > 0
    }

    /// The bytes of the source that the sink has still to take.
    pub(super) fn rest_of_source(&self) -> &[u8] {
        self.rest().get(self.own..).unwrap_or_default()
    }

    /// The bytes of the source among the next `len` ones.
    pub(super) fn source_among(&self, len: usize) -> &[u8] {
        let next = self.rest().get(..len).unwrap_or_default();
        next.get(self.own..).unwrap_or_default()
    }

    /// The sink took so many bytes. Memory shrinks with the rest.
    pub(super) fn take(&mut self, len: usize, now: Instant) {
        self.last_taken = Some(now);
        if let Some(position) = &mut self.position {
            let taken = self.bytes.get(self.delivered..).unwrap_or_default();
            position.advance(taken.get(..len).unwrap_or_default());
        }
        self.own = self.own.saturating_sub(len);
        self.delivered += len;
        self.taken += len as u64;
        if self.delivered >= MIN_RELEASE && self.delivered >= self.bytes.len() / 2 {
            self.bytes.drain(..self.delivered.min(self.bytes.len()));
            self.bytes.shrink_to_fit();
            self.delivered = 0;
        }
    }

    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) const fn last_taken(&self) -> Option<Instant> {
        self.last_taken
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The number of further bytes that may be held while there is no sink.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.rest().len())
    }

    /// Whether there are no bytes, no stall and no close frame.
    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty() && self.stalled_since.is_none() && self.close.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_shrinks_with_the_rest() {
        let mut outgoing = Outgoing::default();
        let now = Instant::now();
        outgoing.push(&[7; 65_536]);
        outgoing.take(20_000, now);
        assert_eq!(outgoing.rest().len(), 45_536);
        outgoing.take(20_000, now);
        assert_eq!(outgoing.rest(), [7; 25_536]);
        assert_eq!(outgoing.capacity(), 25_536);
        outgoing.take(25_536, now);
        assert!(outgoing.is_empty() && outgoing.capacity() == 0);
        assert_eq!(outgoing.taken(), 65_536);
    }
}
