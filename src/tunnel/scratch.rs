//! The read buffer that belongs to the thread, not to the tunnel.

use std::{cell::Cell, mem::MaybeUninit};

use tokio::io::ReadBuf;

/// Size of the buffer in bytes. Large enough that nearly every read is a short one, after which
/// tokio knows that the socket is empty without asking the kernel again.
const SCRATCH_LEN: usize = 256 * 1024;

thread_local! {
    static SCRATCH: Cell<Option<Box<[MaybeUninit<u8>]>>> = const { Cell::new(None) };
}

/// The thread's read buffer, taken for the time of one poll and put back on drop.
///
/// Taking leaves nothing behind, so a tunnel that is polled from within another one's poll finds
/// no buffer and makes one of its own: slower, never wrong.
pub(super) struct Scratch(Box<[MaybeUninit<u8>]>);

impl Scratch {
    pub(super) fn take() -> Self {
        let kept = SCRATCH.try_with(Cell::take).ok().flatten();
        Self(kept.unwrap_or_else(|| Box::new_uninit_slice(SCRATCH_LEN)))
    }

    /// The whole buffer, empty.
    pub(super) fn read_buf(&mut self) -> ReadBuf<'_> {
        ReadBuf::uninit(&mut self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // On a thread that is ending there is nowhere to put it back.
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
        assert_eq!(first.read_buf().capacity(), SCRATCH_LEN);
        assert_eq!(second.read_buf().capacity(), SCRATCH_LEN);
        assert_ne!(first.0.as_ptr(), second.0.as_ptr());
    }
}
