//! Limits on the head of an upstream's response.

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
