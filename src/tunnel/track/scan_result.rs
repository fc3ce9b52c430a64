//! Result of scanning a chunk: which of its bytes are forwarded, and what is in them.

use tokio::time::Instant;

use crate::{frame::CloseCode, tunnel::report::Limit};

use super::{guard::Breach, unanswered::UnansweredPings};

/// Result of scanning a chunk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::tunnel) struct ScanResult {
    /// The number of bytes, from the first on, that go to the sink.
    pub(in crate::tunnel) forward: usize,
    /// The number of bytes after those that wait for the rest of their frame, or for the end of a
    /// pause, and are scanned again.
    pub(in crate::tunnel) hold: usize,
    /// The first boundary in the forwarded bytes at which a frame of ours may be put.
    pub(in crate::tunnel) boundary: Option<usize>,
    /// The limit that holds the bytes back, and until when.
    pub(in crate::tunnel) pause: Option<(Limit, Instant)>,
    /// The pings that begin in the forwarded bytes.
    pub(in crate::tunnel) pings: UnansweredPings,
    /// The breach at the end of the forwarded bytes, if any; later bytes are not forwarded.
    pub(in crate::tunnel) breach: Option<Breach>,
    /// The code of a close frame, the first of the bytes that wait, which is forwarded only if the
    /// tunnel ends with it.
    pub(in crate::tunnel) withheld: Option<CloseCode>,
}
