//! The limits of the head of an upstream's response.

/// How large the head of an upstream's answer may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// Header lines.
    pub(crate) lines: usize,
    /// Bytes; at least 8,192.
    pub(crate) bytes: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            lines: 100,
            bytes: 64 * 1024,
        }
    }
}
