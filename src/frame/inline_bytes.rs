//! Short byte strings held by value.

use std::{fmt, ops::Deref};

/// Up to `N` bytes in an array of their own; derefs to the bytes that are there.
#[derive(Clone, Copy)]
pub(super) struct InlineBytes<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> InlineBytes<N> {
    pub(super) const fn new() -> Self {
        const { assert!(N <= u8::MAX as usize) }
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    /// Appends `part`; bytes that do not fit are left out, so callers choose `N` for their longest.
    pub(super) fn push(&mut self, part: &[u8]) {
        let room = self.bytes.iter_mut().skip(usize::from(self.len));
        for (slot, byte) in room.zip(part) {
            *slot = *byte;
            self.len += 1;
        }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes
            .get_mut(..usize::from(self.len))
            .unwrap_or_default()
    }
}

impl<const N: usize> Deref for InlineBytes<N> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl<const N: usize> PartialEq for InlineBytes<N> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<const N: usize> Eq for InlineBytes<N> {}

impl<const N: usize> fmt::Debug for InlineBytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_pushed() {
        let mut bytes = InlineBytes::<4>::new();
        assert!(bytes.is_empty());
        bytes.push(&[1, 2]);
        bytes.push(&[]);
        bytes.push(&[3]);
        assert_eq!(*bytes, [1, 2, 3]);
    }

    #[test]
    fn never_grows_past_its_array() {
        let mut bytes = InlineBytes::<2>::new();
        bytes.push(&[1, 2, 3]);
        bytes.push(&[4]);
        assert_eq!(*bytes, [1, 2]);
    }
}
