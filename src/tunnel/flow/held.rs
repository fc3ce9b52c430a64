//! Bytes that were read and not passed on yet.

use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::{io::ReadBuf, time::Instant};

use crate::{instant::saturating_add, tunnel::report::Limit};

/// The longest that a limit may keep a side from being read.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// What comes before the bytes that the source is asked for.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The beginning of a control frame, or of a header, that waits for its rest: at most 139
    /// bytes.
    pub(super) beginning: Vec<u8>,
    /// Bytes that were never looked at, or that a limit holds back.
    pub(super) unread: Bytes,
    pub(super) pause: Option<Pause>,
}

/// A limit keeps the source from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tunnel) struct Pause {
    pub(super) limit: Limit,
    pub(super) until: Instant,
    /// When the side is closed instead.
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

    /// When the tunnel must look at it.
    pub(in crate::tunnel) fn deadline(&self) -> Instant {
        self.until.min(self.at_most_until)
    }

    /// The limit, once it has kept the source from being read for as long as may be.
    pub(in crate::tunnel) fn overdue(&self, now: Instant) -> Option<Limit> {
        (self.at_most_until <= now && self.until > now).then_some(self.limit)
    }
}

impl Held {
    /// Bytes that were read ahead of the tunnel.
    pub(super) fn read_ahead(unread: Bytes) -> Option<Box<Self>> {
        let held = Self {
            unread,
            ..Self::default()
        };
        held.boxed()
    }

    /// Fills the buffer, as far as there is room; how many bytes were unread ones.
    pub(super) fn show(&self, buf: &mut ReadBuf<'_>) -> usize {
        buf.put_slice(&self.beginning);
        let shown = self.unread.len().min(buf.remaining());
        buf.put_slice(self.unread.get(..shown).unwrap_or_default());
        shown
    }

    /// What is left once so many unread bytes were shown, the last `rest` of which are held back.
    pub(super) fn after(mut self, shown: usize, rest: &[u8]) -> Bytes {
        match shown.checked_sub(rest.len()) {
            Some(passed) => self.unread.advance(passed),
            None => {
                self.unread.advance(shown);
                self.unread = [rest, &self.unread].concat().into();
            }
        }
        self.unread
    }

    /// Nothing, if nothing is held.
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
    fn the_beginning_is_shown_first_and_unread_bytes_as_far_as_there_is_room() {
        let mut space = [0; 5];
        let mut buf = ReadBuf::new(&mut space);
        assert_eq!(held(b"ab", b"cdef").show(&mut buf), 3);
        assert_eq!(buf.filled(), b"abcde");
    }

    #[test]
    fn what_is_held_back_stays_in_front_of_what_was_not_shown() {
        assert_eq!(held(b"", b"cdef").after(3, b""), b"f"[..]);
        assert_eq!(held(b"", b"cdef").after(3, b"de"), b"def"[..]);
        assert_eq!(held(b"ab", b"cdef").after(3, b"bcde"), b"bcdef"[..]);
        assert_eq!(held(b"ab", b"").after(0, b"ab"), b"ab"[..]);
    }

    #[test]
    fn nothing_is_kept_for_nothing() {
        assert!(Held::read_ahead(Bytes::new()).is_none());
        assert_eq!(
            Held::read_ahead(b"x"[..].into()).map(|held| held.len()),
            Some(1)
        );
    }
}
