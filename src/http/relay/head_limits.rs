//! Limits on the head of an upstream's response.

/// Header lines that a `HeaderMap` can be made for without a panic: it takes 2^15 slots, of which
/// three quarters may be used.
pub(crate) const MAX_HEAD_LINES: usize = 24_000;

/// Limits on the head of an upstream's response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// Number of header lines.
    pub(crate) lines: usize,
    /// Size in bytes; at least 8,192.
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
