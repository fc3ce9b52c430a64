//! How much a side may send. Pure: `(what, now) -> within or over`.

use tokio::time::Instant;

use crate::{
    frame::{FrameHeader, MessageTracker},
    token_bucket::TokenBucket,
    tunnel::report::Limit,
};

/// How much each side of a tunnel may send; nothing is limited unless set.
///
/// Sizes are payload bytes as on the wire: a compressed message counts compressed. Rates are
/// token buckets that hold one second's worth, per direction.
///
/// Limits are read off frame headers, so they end where the bytes stop being frames:
/// [`Framing::Enforce`](crate::Framing::Enforce) closes a tunnel there, and with
/// [`Framing::Opaque`](crate::Framing::Opaque) there are none.
///
/// Going over closes the offender's leg with 1009 (size) or 1008 (rate), RFC 6455 §7.4.1.
///
/// # Examples
///
/// ```
/// use wsplice::Limits;
///
/// let limits = Limits::new().message_size(1 << 20).messages_per_second(50);
/// # let _ = limits;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Limits {
    frame_size: Option<u64>,
    message_size: Option<u64>,
    messages_per_second: Option<u32>,
    bytes_per_second: Option<u64>,
}

impl Limits {
    /// No limits.
    pub const fn new() -> Self {
        Self {
            frame_size: None,
            message_size: None,
            messages_per_second: None,
            bytes_per_second: None,
        }
    }

    /// Largest payload of one frame, in bytes.
    pub const fn frame_size(mut self, bytes: u64) -> Self {
        self.frame_size = Some(bytes);
        self
    }

    /// Largest payload of one message, in bytes, summed over its fragments.
    pub const fn message_size(mut self, bytes: u64) -> Self {
        self.message_size = Some(bytes);
        self
    }

    /// Messages that may begin in a second. Control frames count too: a flood of pings is a flood.
    pub const fn messages_per_second(mut self, messages: u32) -> Self {
        self.messages_per_second = Some(messages);
        self
    }

    /// Bytes in a second, frame headers included. Each frame is counted when it begins; one that
    /// is larger than a second's worth passes, and the next must wait until it is paid for.
    pub const fn bytes_per_second(mut self, bytes: u64) -> Self {
        self.bytes_per_second = Some(bytes);
        self
    }

    pub(super) const fn are_off(&self) -> bool {
        self.frame_size.is_none()
            && self.message_size.is_none()
            && self.messages_per_second.is_none()
            && self.bytes_per_second.is_none()
    }
}

/// The limits of one direction with what was used of them.
#[derive(Debug)]
pub(super) struct Meter {
    limits: Limits,
    message: MessageTracker,
    messages: Option<TokenBucket>,
    bytes: Option<TokenBucket>,
}

impl Meter {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            message: MessageTracker::new(),
            messages: limits
                .messages_per_second
                .map(|rate| TokenBucket::full(f64::from(rate), now)),
            #[allow(clippy::cast_precision_loss)] // a rate above 2^53 bytes is no limit
            bytes: limits.bytes_per_second.map(|rate| TokenBucket::full(rate as f64, now)),
        }
    }

    /// Counts a frame by its header, before any of it is forwarded.
    pub(super) fn take_frame(&mut self, header: &FrameHeader, now: Instant) -> Result<(), Limit> {
        if self
            .limits
            .frame_size
            .is_some_and(|max| header.payload_len() > max)
        {
            return Err(Limit::FrameSize);
        }
        let progress = self.message.track(header);
        let size = progress.map_or(0, |progress| progress.size);
        if self.limits.message_size.is_some_and(|max| size > max) {
            return Err(Limit::MessageSize);
        }
        let begins = progress.is_none_or(|progress| progress.begins);
        if begins
            && self
                .messages
                .as_mut()
                .is_some_and(|bucket| !bucket.take(1.0, now))
        {
            return Err(Limit::MessageRate);
        }
        #[allow(clippy::cast_precision_loss)] // what is lost above 2^53 bytes changes nothing
        let bytes = header.payload_len() as f64 + f64::from(header.header_len());
        if self
            .bytes
            .as_mut()
            .is_some_and(|bucket| !bucket.take_on_credit(bytes, now))
        {
            return Err(Limit::ByteRate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
