//! What passed in a tunnel: bytes, frames, close frames, and round trips.

use std::time::Duration;

use crate::frame::CloseCode;

/// Traffic of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectionStats {
    /// Forwarded bytes, our own frames not counted. Where the tunnel was cut off, the last of them
    /// may not have reached the receiving side.
    pub bytes: u64,
    /// Frames that the sending side began, by kind; our own pings and closes not counted.
    pub frames: FrameCounts,
    /// The close frame that the sending side sent, if it did.
    pub close: Option<ReceivedClose>,
    /// Whether the bytes stopped being WebSocket frames, so that they were forwarded unread.
    pub opaque: bool,
}

/// Frames by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameCounts {
    /// Text frames (RFC 6455 §5.6).
    pub text: u64,
    /// Binary frames.
    pub binary: u64,
    /// Continuation frames (§5.4).
    pub continuation: u64,
    /// Ping frames (§5.5.2).
    pub ping: u64,
    /// Pong frames (§5.5.3), without those that answered our own pings.
    pub pong: u64,
    /// Close frames (§5.5.1).
    pub close: u64,
    /// Frames with a reserved opcode.
    pub reserved: u64,
}

impl FrameCounts {
    /// All frames together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.text
            + self.binary
            + self.continuation
            + self.ping
            + self.pong
            + self.close
            + self.reserved
    }

    /// Messages that have begun.
    pub(super) const fn messages(&self) -> u64 {
        self.text + self.binary
    }
}

/// The code and reason of a close frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedClose {
    /// The status code, if the frame had one (RFC 6455 §5.5.1: an empty body means 1005).
    pub code: Option<CloseCode>,
    /// The reason; empty if there was none or it was not UTF-8.
    pub reason: String,
}

impl ReceivedClose {
    /// The code and reason of a close frame, for tests of an [`Observer`](crate::Observer).
    pub fn new(code: Option<CloseCode>, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

/// Round-trip times of our pings on one leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtt {
    // Nanoseconds are half as large as a `Duration`; every pinged leg keeps one.
    min: u64,
    last: u64,
    smoothed: u64,
}

impl Rtt {
    /// The first round trip.
    #[must_use]
    pub const fn first(sample: Duration) -> Self {
        let nanos = nanos(sample);
        Self {
            min: nanos,
            last: nanos,
            smoothed: nanos,
        }
    }

    /// Adds a sample; the smoothed value moves by an eighth, as TCP's does (RFC 6298 §2).
    #[must_use]
    pub fn with(self, sample: Duration) -> Self {
        let nanos = nanos(sample);
        Self {
            min: self.min.min(nanos),
            last: nanos,
            smoothed: ((u128::from(self.smoothed) * 7 + u128::from(nanos)) / 8) as u64,
        }
    }

    /// The shortest.
    #[must_use]
    pub const fn min(&self) -> Duration {
        Duration::from_nanos(self.min)
    }

    /// The newest.
    #[must_use]
    pub const fn last(&self) -> Duration {
        Duration::from_nanos(self.last)
    }

    /// Exponentially weighted mean, an eighth for the newest.
    #[must_use]
    pub const fn smoothed(&self) -> Duration {
        Duration::from_nanos(self.smoothed)
    }
}

/// Whole nanoseconds; all of them up to 584 years.
const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 {
        return u64::MAX;
    }
    nanos as u64
}
