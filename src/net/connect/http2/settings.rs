//! How connections over HTTP/2 are shared and kept.

use std::time::Duration;

/// How the tunnels of a layer share connections to upstreams that are spoken to in
/// [HTTP/2](crate::connect::HttpVersion::Http2).
///
/// A connection takes as many tunnels as are allowed here and by the upstream
/// (`SETTINGS_MAX_CONCURRENT_STREAMS`); when all are full another one is opened. One that the
/// upstream wants to end (GOAWAY) keeps its tunnels and gets no new ones.
///
/// None of its tunnels can stall because others are not read by their clients. What is not read by
/// the upstream is the upstream's to bound: by windows for its streams that fit into the one for
/// the connection.
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

/// The largest window there is (RFC 9113 §6.9.1), in bytes.
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// The smallest window that is taken; below RFC 9113's initial one streams would stall for little.
const MIN_WINDOW: u32 = 64 * 1024;

/// What a connection may hold of small frames that nobody reads, in bytes for each stream. h2
/// counts 256 for a frame below that, less what is in it: that makes 4,096 frames of WebSocket pings
/// or the like. If on average every stream holds more, the connection is cut off.
const SMALL_FRAMES: usize = 1024 * 1024;

impl Http2Connections {
    /// The defaults: 100 tunnels, windows of 256 KiB, a PING every 30 s to be answered within 10 s, closed after 60 s
    /// without a tunnel.
    pub const fn new() -> Self {
        Self {
            max_streams: 100,
            stream_window: 256 * 1024,
            ping_interval: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
        }
    }

    /// How many tunnels a connection takes at most, at least 1. What an upstream allows counts if
    /// it is less.
    ///
    /// The connection's window has room for the windows of all of them, so none can stall because
    /// of others. There is no window above 2 GiB; it takes as many as have room in that, if those
    /// are fewer.
    pub const fn max_streams(mut self, streams: usize) -> Self {
        self.max_streams = if streams == 0 { 1 } else { streams };
        self
    }

    /// How much an upstream may send on a stream before the client takes it, in bytes (at least
    /// 64 KiB). It stands for the receive buffer that a tunnel's own socket would have: it holds
    /// what stalls, and bounds the speed over long distances, to a window in each round trip.
    pub fn stream_window(mut self, bytes: u32) -> Self {
        self.stream_window = bytes.clamp(MIN_WINDOW, MAX_WINDOW);
        self
    }

    /// How often an upstream is asked by PING whether the connection is alive (RFC 9113 §6.7);
    /// `None` turns it off.
    pub fn ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.ping_interval = interval.into();
        self
    }

    /// How long the answer to a PING may take. A connection without one is dead, and every tunnel
    /// on it has lost its upstream.
    pub const fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.ping_timeout = timeout;
        self
    }

    /// How long a connection without tunnels is kept.
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// The window of the connection: room for every stream to fill its own.
    pub(super) fn connection_window(&self) -> u32 {
        let streams = u32::try_from(self.streams()).unwrap_or(u32::MAX);
        self.stream_window
            .saturating_mul(streams.saturating_add(1))
            .min(MAX_WINDOW)
    }

    pub(super) fn small_frame_budget(&self) -> usize {
        SMALL_FRAMES.saturating_mul(self.streams())
    }

    /// How many streams a connection takes: no more than have room in the largest window, with one
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
