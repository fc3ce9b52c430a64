//! Settings of shared HTTP/2 connections.

use std::time::Duration;

/// Settings by which the tunnels of a layer share connections to upstreams that are spoken to in
/// [HTTP/2](crate::connect::HttpVersion::Http2).
///
/// A connection takes as many tunnels as are allowed here and by the upstream
/// (`SETTINGS_MAX_CONCURRENT_STREAMS`); when all are full another one is opened. One that the
/// upstream wants to end (GOAWAY) keeps its tunnels and gets no new ones.
///
/// A tunnel never stalls because the clients of others do not read. Bytes that the upstream does
/// not read are bounded by the upstream: by windows for its streams that fit into the one for the
/// connection.
///
/// # Defaults
///
/// | method | default | unit | why |
/// |---|---|---|---|
/// | [`max_streams`](Self::max_streams) | 100 | tunnels | the least that RFC 9113 §6.5.2 recommends |
/// | [`stream_window`](Self::stream_window) | 262,144 | bytes | as a socket's buffer |
/// | [`ping_interval`](Self::ping_interval) | 30 s | time | hops drop idle connections after 60 s |
/// | [`ping_timeout`](Self::ping_timeout) | 10 s | time | as for the pongs of tunnels |
/// | [`idle_timeout`](Self::idle_timeout) | 60 s | time | reconnecting clients find it open |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::connect::Http2Connections;
///
/// let few = Http2Connections::new().max_streams(20).idle_timeout(Duration::from_secs(10));
/// # let _ = few;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Http2Connections {
    pub(super) max_streams: usize,
    pub(super) stream_window: u32,
    pub(super) ping_interval: Option<Duration>,
    pub(super) ping_timeout: Duration,
    pub(super) idle_timeout: Duration,
}

/// The largest window (RFC 9113 §6.9.1), in bytes.
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// The smallest window that is accepted, in bytes: about the initial window of RFC 9113 §6.9.2, below which
/// streams would stall after little.
const MIN_WINDOW: u32 = 64 * 1024;

/// Budget of a connection for small frames that were not read yet, in bytes for each stream. h2
/// counts 256 for a frame below that, less its content: that makes 4,096 frames of WebSocket pings
/// or the like. If on average every stream holds more, the connection is cut off.
const SMALL_FRAMES: usize = 1024 * 1024;

impl Http2Connections {
    /// The [defaults](Self#defaults).
    pub const fn new() -> Self {
        Self {
            max_streams: 100,
            stream_window: 256 * 1024,
            ping_interval: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
        }
    }

    /// The most tunnels on a connection, at least 1. The upstream's own limit counts if it is
    /// lower.
    ///
    /// The connection's window has room for the windows of all of them, so none can stall because
    /// of others. A window cannot exceed 2 GiB, so the connection takes fewer streams if their
    /// windows would.
    pub const fn max_streams(mut self, streams: usize) -> Self {
        self.max_streams = if streams == 0 { 1 } else { streams };
        self
    }

    /// The most bytes that an upstream may send on a stream before the client takes them (at least
    /// 64 KiB). The window replaces the receive buffer of a tunnel's own socket: it holds the bytes
    /// of a stalled tunnel, and limits the speed over long distances to a window a round trip.
    pub fn stream_window(mut self, bytes: u32) -> Self {
        self.stream_window = bytes.clamp(MIN_WINDOW, MAX_WINDOW);
        self
    }

    /// Interval of the PINGs that check whether the connection is alive (RFC 9113 §6.7); `None`
    /// turns them off.
    pub fn ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.ping_interval = interval.into();
        self
    }

    /// Time for the answer to a PING. A connection without one is dead, and every tunnel on it has
    /// lost its upstream.
    pub const fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.ping_timeout = timeout;
        self
    }

    /// Time for which a connection without tunnels is kept.
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// The window of the connection, with room for every stream to fill its own.
    pub(super) fn connection_window(&self) -> u32 {
        let streams = u32::try_from(self.streams()).unwrap_or(u32::MAX);
        self.stream_window
            .saturating_mul(streams.saturating_add(1))
            .min(MAX_WINDOW)
    }

    pub(super) fn small_frame_budget(&self) -> usize {
        SMALL_FRAMES.saturating_mul(self.streams())
    }

    /// The most streams of a connection: no more than have room in the largest window, with one
    /// to spare.
    pub(super) fn streams(&self) -> usize {
        let room = (MAX_WINDOW / self.stream_window).saturating_sub(1).max(1);
        usize::try_from(room).map_or(self.max_streams, |room| room.min(self.max_streams))
    }
}

impl Default for Http2Connections {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_streams_of_a_connection_can_stall_and_one_more_can_go_on() {
        let settings = Http2Connections::new();
        assert_eq!(settings.connection_window(), 101 * 256 * 1024);
        assert_eq!(settings.max_streams(0).max_streams, 1);
    }

    #[test]
    fn a_connection_takes_no_more_streams_than_its_window_has_room_for_rfc9113_6_9_1() {
        for (window, streams) in [
            (MIN_WINDOW, usize::MAX),
            (64 << 20, 100),
            (1 << 30, 2),
            (MAX_WINDOW, 100),
        ] {
            let settings = Http2Connections::new()
                .max_streams(streams)
                .stream_window(window);
            let taken = u64::try_from(settings.streams()).unwrap();
            assert!(taken >= 1);
            let all = taken * u64::from(window);
            assert!(all <= settings.connection_window().into(), "{window}");
        }
        assert_eq!(Http2Connections::new().streams(), 100);
    }
}
