//! Limits on the frames that a side may send. Pure: `(header, now) -> within, wait or over`.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    frame::{FrameHeader, MessageTracker, OpCode},
    token_bucket::TokenBucket,
    tunnel::report::Limit,
};

/// How much each side of a tunnel may send; nothing is limited unless set.
///
/// Sizes are payload bytes as on the wire: a compressed message counts compressed. A frame or
/// message that is too large closes the tunnel: the offender's leg with 1009 (RFC 6455 §7.4.1).
///
/// Rates are token buckets, one for each direction. A side that is over its rate is not read until
/// it is within again, so that its own writes wait; nothing is lost. A single wait of more than
/// 30 s closes the side with 1008. [`close_over_rate`](Self::close_over_rate) closes at once
/// instead. Close frames pass at any rate, and so do pongs that answer pings of the other side.
/// Time in which a side could not send because the other one did not read is credited. While a
/// side waits for its rate it is not expected to answer pings, and the tunnel is not idle.
///
/// Limits are read off frame headers, so they end where the bytes stop being frames:
/// [`Framing::Enforce`](crate::tunnel::Framing::Enforce) closes a tunnel there, and with
/// [`Framing::Opaque`](crate::tunnel::Framing::Opaque) there are none.
///
/// # Defaults
///
/// | method | default | unit |
/// |---|---|---|
/// | [`frame_size`](Self::frame_size) | none | bytes |
/// | [`message_size`](Self::message_size) | none | bytes |
/// | [`messages_per_second`](Self::messages_per_second) | none | messages |
/// | [`message_burst`](Self::message_burst) | one second's worth | messages |
/// | [`bytes_per_second`](Self::bytes_per_second) | none | bytes |
/// | [`byte_burst`](Self::byte_burst) | one second's worth | bytes |
/// | [`close_over_rate`](Self::close_over_rate) | off: the side has to wait | |
///
/// # Examples
///
/// ```
/// use wsplice::Limits;
///
/// let limits = Limits::new().message_size(1 << 20).messages_per_second(50).message_burst(200);
/// # let _ = limits;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Limits {
    frame_size: Option<u64>,
    message_size: Option<u64>,
    messages_per_second: Option<u32>,
    message_burst: Option<u32>,
    bytes_per_second: Option<u64>,
    byte_burst: Option<u64>,
    over_rate: OverRate,
}

/// Consequence for a side that is over its rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OverRate {
    #[default]
    Wait,
    Close,
}

impl Limits {
    /// No limits.
    pub const fn new() -> Self {
        Self {
            frame_size: None,
            message_size: None,
            messages_per_second: None,
            message_burst: None,
            bytes_per_second: None,
            byte_burst: None,
            over_rate: OverRate::Wait,
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

    /// Messages that may begin at once after a time of silence.
    pub const fn message_burst(mut self, messages: u32) -> Self {
        self.message_burst = Some(messages);
        self
    }

    /// Bytes in a second, frame headers included. Each frame is counted when it begins; one that
    /// is larger than the remaining budget passes, and the next waits until the debt is paid.
    pub const fn bytes_per_second(mut self, bytes: u64) -> Self {
        self.bytes_per_second = Some(bytes);
        self
    }

    /// Bytes that may come at once after a time of silence.
    pub const fn byte_burst(mut self, bytes: u64) -> Self {
        self.byte_burst = Some(bytes);
        self
    }

    /// Closes a side that is over its rate, with 1008 (RFC 6455 §7.4.1), instead of making it wait.
    pub const fn close_over_rate(mut self) -> Self {
        self.over_rate = OverRate::Close;
        self
    }

    pub(super) const fn are_off(&self) -> bool {
        self.frame_size.is_none()
            && self.message_size.is_none()
            && self.messages_per_second.is_none()
            && self.bytes_per_second.is_none()
    }
}

/// The limits of one direction and their use so far.
#[derive(Debug)]
pub(super) struct Meter {
    limits: Limits,
    message: MessageTracker,
    messages: Option<TokenBucket>,
    bytes: Option<TokenBucket>,
}

/// Result of checking a frame against the rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RateDecision {
    Within,
    /// Over this limit until that moment.
    Over(Limit, Instant),
}

impl Meter {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        let messages = limits.messages_per_second.map(|rate| {
            let burst = limits.message_burst.unwrap_or(rate);
            TokenBucket::full(rate.into(), now).with_burst(burst.into())
        });
        #[allow(clippy::cast_precision_loss)] // a rate above 2^53 bytes limits nothing
        let bytes = limits.bytes_per_second.map(|rate| {
            let burst = limits.byte_burst.unwrap_or(rate);
            TokenBucket::full(rate as f64, now).with_burst(burst as f64)
        });
        Self {
            limits,
            message: MessageTracker::new(),
            messages,
            bytes,
        }
    }

    /// Whether the frame must wait. Counts nothing.
    pub(super) fn rate(&mut self, header: &FrameHeader, now: Instant) -> RateDecision {
        if let Some(bucket) = self.messages.as_mut().filter(|_| begins_message(header)) {
            if !bucket.has(1.0, now) {
                return RateDecision::Over(Limit::MessageRate, bucket.ready_at(1.0, now));
            }
        }
        if let Some(bucket) = &mut self.bytes {
            if !bucket.has_some(now) {
                return RateDecision::Over(Limit::ByteRate, bucket.ready_at(0.0, now));
            }
        }
        RateDecision::Within
    }

    /// Whether a side that is over its rate is closed.
    pub(super) fn closes_over_rate(&self) -> bool {
        self.limits.over_rate == OverRate::Close
    }

    /// Counts the size of a frame by its header, before any of it is forwarded.
    ///
    /// # Errors
    ///
    /// The limit that the frame, or the message that it belongs to, is too large for.
    pub(super) fn take_size(&mut self, header: &FrameHeader) -> Result<(), Limit> {
        let is_over = |max: Option<u64>, size| max.is_some_and(|max| size > max);
        if is_over(self.limits.frame_size, header.payload_len()) {
            return Err(Limit::FrameSize);
        }
        let size = self.message.track(header).unwrap_or(0);
        if is_over(self.limits.message_size, size) {
            return Err(Limit::MessageSize);
        }
        Ok(())
    }

    /// Counts a frame that is [within](Self::rate) the rates.
    pub(super) fn take_rate(&mut self, header: &FrameHeader, now: Instant) {
        if let Some(bucket) = self.messages.as_mut().filter(|_| begins_message(header)) {
            bucket.take(1.0, now);
        }
        if let Some(bucket) = &mut self.bytes {
            #[allow(clippy::cast_precision_loss)] // the loss above 2^53 bytes changes nothing
            let bytes = header.payload_len() as f64 + f64::from(header.header_len());
            bucket.take_on_credit(bytes, now);
        }
    }

    /// The side could not send for so long, for no fault of its own.
    pub(super) fn credit_time(&mut self, time: Duration, now: Instant) {
        for bucket in [&mut self.messages, &mut self.bytes].into_iter().flatten() {
            bucket.credit_time(time, now);
        }
    }
}

/// Whether the frame counts as a message that begins.
fn begins_message(header: &FrameHeader) -> bool {
    header.opcode() != OpCode::CONTINUATION
}

#[cfg(test)]
mod tests;
