//! Bytes that were read and not forwarded yet.

use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::{io::ReadBuf, time::Instant};

use crate::{instant::saturating_add, tunnel::report::Limit};

/// Longest time that a limit may keep a side from being read.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Bytes that come before the next read of the source.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The beginning of a control frame, or of a header, that waits for its rest: at most 139
    /// bytes.
    pub(super) beginning: Vec<u8>,
    /// Bytes that were never scanned, or that a limit holds back.
    pub(super) unread: Bytes,
    pub(super) pause: Option<Pause>,
}

/// Pause in which a limit keeps the source from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tunnel) struct Pause {
    pub(super) limit: Limit,
    pub(super) until: Instant,
    /// The moment at which the side is closed instead.
    pub(super) at_most_until: Instant,
}

impl Pause {
    pub(super) fn new(limit: Limit, until: Instant, now: Instant) -> Self {
        Self {
            limit,
            until,
            at_most_until: saturating_add(now, MAX_PAUSE),
        }
    }

    /// The moment at which the pause ends or is overdue.
    pub(in crate::tunnel) fn deadline(&self) -> Instant {
        self.until.min(self.at_most_until)
    }

    /// Returns the limit, once it has kept the source from being read for [`MAX_PAUSE`].
    pub(in crate::tunnel) fn overdue(&self, now: Instant) -> Option<Limit> {
        (self.at_most_until <= now && self.until > now).then_some(self.limit)
    }
}

impl Held {
    /// Holds bytes that were read ahead of the tunnel.
    pub(super) fn read_ahead(unread: Bytes) -> Option<Box<Self>> {
        let held = Self {
            unread,
            ..Self::default()
        };
        held.boxed()
    }

    /// Copies the held bytes to the buffer, as far as they fit, but at most so many unread ones;
    /// returns how many of those there were.
    pub(super) fn copy_to(&self, buf: &mut ReadBuf<'_>, most: usize) -> usize {
        buf.put_slice(&self.beginning);
        let copied = self.unread.len().min(buf.remaining()).min(most);
        buf.put_slice(self.unread.get(..copied).unwrap_or_default());
        copied
    }

    /// Returns the unread bytes that remain once `copied` of them were scanned, and `rest`, the
    /// end of the scanned bytes, is held back.
    pub(super) fn remaining(mut self, copied: usize, rest: &[u8]) -> Bytes {
        match copied.checked_sub(rest.len()) {
            Some(passed) => self.unread.advance(passed),
            None => {
                self.unread.advance(copied);
                self.unread = [rest, &self.unread].concat().into();
            }
        }
        self.unread
    }

    /// Boxes the held bytes; `None` if nothing is held.
    pub(super) fn boxed(self) -> Option<Box<Self>> {
        let is_needed =
            !self.beginning.is_empty() || !self.unread.is_empty() || self.pause.is_some();
        is_needed.then(|| Box::new(self))
    }

    pub(super) fn len(&self) -> usize {
        self.beginning.len() + self.unread.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(beginning: &[u8], unread: &[u8]) -> Held {
        Held {
            beginning: beginning.to_vec(),
            unread: Bytes::copy_from_slice(unread),
            pause: None,
        }
    }

    #[test]
    fn the_beginning_is_copied_first_and_unread_bytes_as_far_as_they_fit() {
        let mut space = [0; 5];
        let mut buf = ReadBuf::new(&mut space);
        assert_eq!(held(b"ab", b"cdef").copy_to(&mut buf, 9), 3);
        assert_eq!(buf.filled(), b"abcde");
        buf.clear();
        assert_eq!(held(b"ab", b"cdef").copy_to(&mut buf, 2), 2);
        assert_eq!(buf.filled(), b"abcd");
    }

    #[test]
    fn bytes_that_are_held_back_stay_in_front_of_the_unread_ones() {
        assert_eq!(held(b"", b"cdef").remaining(3, b""), b"f"[..]);
        assert_eq!(held(b"", b"cdef").remaining(3, b"de"), b"def"[..]);
        assert_eq!(held(b"ab", b"cdef").remaining(3, b"bcde"), b"bcdef"[..]);
        assert_eq!(held(b"ab", b"").remaining(0, b"ab"), b"ab"[..]);
    }

    #[test]
    fn empty_read_ahead_holds_nothing() {
        assert!(Held::read_ahead(Bytes::new()).is_none());
        assert_eq!(
            Held::read_ahead(b"x"[..].into()).map(|held| held.len()),
            Some(1)
        );
    }
}
