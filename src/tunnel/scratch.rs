//! Read buffer that belongs to the thread, not to the tunnel.

use std::cell::Cell;

use tokio::io::ReadBuf;

/// Largest read, in bytes.
pub(super) const SCRATCH_LEN: usize = 256 * 1024;

thread_local! {
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// The thread's read buffer, taken for the time of one poll and put back on drop.
///
/// A tunnel that is polled from within another one's poll finds no buffer and makes one of its
/// own, which is slower and never wrong.
///
/// The buffer is initialized once, because some streams initialize the whole buffer that they read
/// into.
pub(super) struct Scratch(Box<[u8]>);

impl Scratch {
    pub(super) fn take() -> Self {
        let kept = SCRATCH.try_with(Cell::take).ok().flatten();
        Self(kept.unwrap_or_else(|| vec![0; SCRATCH_LEN].into_boxed_slice()))
    }

    /// The first `len` bytes of the buffer, or all of it.
    pub(super) fn read_buf(&mut self, len: usize) -> ReadBuf<'_> {
        let len = len.min(self.0.len());
        ReadBuf::new(self.0.get_mut(..len).unwrap_or_default())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // A thread that is ending has no place to put the buffer back.
        let _ = SCRATCH.try_with(|kept| kept.set(Some(buffer)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_buffer_serves_again() {
        let first = Scratch::take();
        let address = first.0.as_ptr();
        drop(first);
        assert_eq!(Scratch::take().0.as_ptr(), address);
    }

    #[test]
    fn taking_twice_gives_two_buffers() {
        let mut first = Scratch::take();
        let mut second = Scratch::take();
        assert_eq!(first.read_buf(usize::MAX).capacity(), SCRATCH_LEN);
        assert_eq!(second.read_buf(100).capacity(), 100);
        assert_ne!(first.0.as_ptr(), second.0.as_ptr());
    }

    #[test]
    fn a_stream_that_initializes_what_it_reads_into_finds_that_done() {
        let mut scratch = Scratch::take();
        let buf = scratch.read_buf(usize::MAX);
        assert_eq!(buf.initialized().len(), SCRATCH_LEN);
    }
}
