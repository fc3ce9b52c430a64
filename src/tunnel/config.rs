//! The settings of a tunnel.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{error::Side, frame::CloseFrame, task::catch_panic, tunnel::report::TunnelEnd};

use super::{
    close::CloseAction,
    end::Bounds,
    keep_alive::{KeepAlive, PingSchedule},
    limits::Limits,
    pair::{LegId, Pair},
    scratch::SCRATCH_LEN,
};

/// Time in which TCP keep-alive detects by default that a side is gone.
const TCP_NOTICES: Duration = Duration::from_secs(4 * 60);

/// Default bound of the bytes that wait for a side that does not read, for each direction: the largest
/// read. That is a few per cent of what the kernel holds for such a side, and messages of 64 KiB and
/// more take half the system calls, or less.
const MAX_BUFFERED: usize = SCRATCH_LEN;

/// Smallest read, in bytes: a control frame must fit.
const MIN_BUFFERED: usize = 1024;

/// Time for a pong or a close from a side that has much to read first, and for a ping or a close of
/// ours to get its place, if no write timeout is set: its default.
const BURDENED: Duration = Duration::from_secs(60);

/// How strictly the tunnel reads the frames that pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// Frames are located and not validated. Where the bytes stop being frames, the tunnel
    /// forwards them unread, without pings and closes of its own.
    #[default]
    Observe,
    /// A side that breaks RFC 6455 §5 (masking direction, control frame length, fragmentation,
    /// length encoding, reserved bits and opcodes) is closed with 1002.
    Enforce,
    /// Bytes are moved unread: no frame counts, no pings, no close frames of the proxy's own.
    Opaque,
}

/// Settings of a tunnel: timeouts, limits, keep-alive and close frames.
///
/// # Defaults
///
/// | method | default | why |
/// |---|---|---|
/// | [`framing`](Self::framing) | [`Framing::Observe`] | two endpoints may have agreed on more than RFC 6455 |
/// | [`keep_alive`](Self::keep_alive) | off | |
/// | [`idle_timeout`](Self::idle_timeout) | none | |
/// | [`max_lifetime`](Self::max_lifetime) | none | |
/// | [`lifetime_jitter`](Self::lifetime_jitter) | 0.1 | |
/// | [`half_close_timeout`](Self::half_close_timeout) | 10 s | the other side may have more to send |
/// | [`write_timeout`](Self::write_timeout) | 60 s | a side that does not read must not hold memory forever |
/// | [`close_timeout`](Self::close_timeout) | 5 s | |
/// | [`close_handshake_timeout`](Self::close_handshake_timeout) | 30 s | as long as endpoints wait themselves |
/// | [`max_buffered`](Self::max_buffered) | 256 KiB | a few per cent of what the kernel holds for a side that does not read |
/// | [`notsent_lowat`](Self::notsent_lowat) | none: as the system has it | costs CPU in bulk transfers |
/// | [`limits`](Self::limits) | none | |
/// | [`map_close_frame`](Self::map_close_frame) | none | |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::{KeepAlive, TunnelConfig};
///
/// let config = TunnelConfig::new()
///     .keep_alive(KeepAlive::default())
///     .max_lifetime(Duration::from_secs(3600));
/// # let _ = config;
/// ```
#[derive(Clone)]
#[must_use]
pub struct TunnelConfig {
    pub(super) framing: Framing,
    pub(super) keep_alive: Pair<Option<Arc<PingSchedule>>>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_lifetime: Option<Duration>,
    pub(super) lifetime_jitter: f64,
    pub(super) half_close_timeout: Option<Duration>,
    pub(super) write_timeout: Option<Duration>,
    pub(super) close_timeout: Duration,
    pub(super) close_handshake_timeout: Duration,
    pub(super) max_buffered: usize,
    pub(super) notsent_lowat: Option<u32>,
    pub(super) limits: Pair<Limits>,
    map_close: Option<Arc<MapClose>>,
    /// The legs on which TCP keep-alive takes over where pings stop.
    pub(super) falls_back_to_tcp: Pair<TcpFallback>,
}

/// What takes over from pings that can no longer be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TcpFallback {
    /// Nothing: the socket is as its owner wants it.
    #[default]
    None,
    /// TCP keep-alive, which was left off because pings serve the same purpose.
    KeepAlive,
}

type MapClose = dyn Fn(&TunnelEnd, Side, CloseFrame) -> CloseFrame + Send + Sync;

impl TunnelConfig {
    /// The default settings.
    pub fn new() -> Self {
        Self {
            framing: Framing::Observe,
            keep_alive: Pair::default(),
            idle_timeout: None,
            max_lifetime: None,
            lifetime_jitter: 0.1,
            half_close_timeout: Some(Duration::from_secs(10)),
            write_timeout: Some(Duration::from_secs(60)),
            close_timeout: Duration::from_secs(5),
            close_handshake_timeout: Duration::from_secs(30),
            max_buffered: MAX_BUFFERED,
            notsent_lowat: None,
            limits: Pair::default(),
            map_close: None,
            falls_back_to_tcp: Pair::default(),
        }
    }

    /// How strictly frames are read.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Pings both legs while they are quiet, each by itself. `None` turns it off.
    pub fn keep_alive(mut self, keep_alive: impl Into<Option<KeepAlive>>) -> Self {
        let shared = keep_alive.into().map(shared);
        self.keep_alive = Pair::new(|_| shared.clone());
        self
    }

    /// Pings the client's leg only, or with settings of its own.
    pub fn client_keep_alive(mut self, keep_alive: impl Into<Option<KeepAlive>>) -> Self {
        self.keep_alive[LegId::Client] = keep_alive.into().map(shared);
        self
    }

    /// Pings the upstream's leg only, or with settings of its own.
    pub fn upstream_keep_alive(mut self, keep_alive: impl Into<Option<KeepAlive>>) -> Self {
        self.keep_alive[LegId::Upstream] = keep_alive.into().map(shared);
        self
    }

    /// Closes a tunnel with 1001 when nothing passed in either direction for this long. Our own
    /// pings and their pongs don't count, or it would never fire.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into();
        self
    }

    /// Closes a tunnel with 1001 this long after it began, less up to 10 %
    /// ([`lifetime_jitter`](Self::lifetime_jitter)).
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.max_lifetime = lifetime.into();
        self
    }

    /// Shortens each tunnel's maximum lifetime by a random share up to this one (0 ..= 1), so
    /// that clients that came together don't come back together.
    pub fn lifetime_jitter(mut self, share: f64) -> Self {
        self.lifetime_jitter = share;
        self
    }

    /// Once one direction has ended, the other may be quiet for this long before the tunnel ends.
    pub fn half_close_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.half_close_timeout = timeout.into();
        self
    }

    /// Ends a tunnel when a side takes none of the bytes that wait for it for this long, in the
    /// tunnel or in a buffer of its stream.
    ///
    /// The write timeout also bounds how long a close frame of ours waits for the end of the frame
    /// that is passing, and, on a leg with keep-alive, how long a ping does; with `None`, 60 s do.
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.write_timeout = timeout.into();
        self
    }

    /// How long a side may take to answer a close frame of ours, from the moment at which it was
    /// handed over, before it is reset; and how long two endpoints that have both closed may take
    /// to end their connections.
    ///
    /// A side to which more than 256 KiB went since anything last came from it, or before that behind
    /// the ping that it has answered, has at least the [write timeout](Self::write_timeout) to
    /// answer, because it must read that first.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// How long an endpoint may take to answer the close frame of the other one (RFC 6455 §7.1.2),
    /// from the moment at which that frame was handed over. A side that has much to read before has
    /// longer, as by [`close_timeout`](Self::close_timeout).
    pub fn close_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.close_handshake_timeout = timeout;
        self
    }

    /// The most bytes that the tunnel reads from one side before the other has taken them: from 1 KiB
    /// to 256 KiB, the default. A side that does not read can hold that much memory, beside what the
    /// kernel holds for it. Smaller values move large messages with more system calls.
    ///
    /// A quiet tunnel holds no buffer, and one that stalled recently reads less at once.
    pub fn max_buffered(mut self, bytes: usize) -> Self {
        self.max_buffered = bytes.clamp(MIN_BUFFERED, SCRATCH_LEN);
        self
    }

    /// The most bytes that the kernel keeps unsent for a leg that is a plain TCP socket
    /// (`TCP_NOTSENT_LOWAT`, on Linux). With `None`, the sockets are left as they are: by default the
    /// kernel may keep some megabytes for a slow reader.
    ///
    /// Pings and close frames of the proxy wait behind these bytes. With 128 KiB a client that reads
    /// 1 MiB/s gets them within a second, and not after eight; bulk transfers cost more CPU, because
    /// the tunnel is woken more often. Bytes that were sent and not acknowledged are not counted, so a
    /// long distance needs no larger value. A leg inside TLS, whose socket is not the tunnel's, is
    /// left as it is.
    ///
    /// # Examples
    ///
    /// ```
    /// let config = wsplice::TunnelConfig::new().notsent_lowat(128 * 1024);
    /// # let _ = config;
    /// ```
    pub fn notsent_lowat(mut self, bytes: impl Into<Option<u32>>) -> Self {
        self.notsent_lowat = bytes.into();
        self
    }

    /// Limits on the frames that each side may send.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Pair::new(|_| limits);
        self
    }

    /// Limits on the frames that the client may send.
    pub fn client_limits(mut self, limits: Limits) -> Self {
        self.limits[LegId::Client] = limits;
        self
    }

    /// Limits on the frames that the upstream may send.
    pub fn upstream_limits(mut self, limits: Limits) -> Self {
        self.limits[LegId::Upstream] = limits;
        self
    }

    /// Changes the code or reason of the close frames that the proxy sends: its own, and those of
    /// drains, of the registry, and of pools that lose an upstream. The function gets the reason of
    /// the end, the side that the frame goes to, and the unchanged frame.
    ///
    /// If it panics, the unchanged frame is sent.
    pub fn map_close_frame<F>(mut self, map: F) -> Self
    where
        F: Fn(&TunnelEnd, Side, CloseFrame) -> CloseFrame + Send + Sync + 'static,
    {
        self.map_close = Some(Arc::new(map));
        self
    }

    /// Whether pings find out that a side is gone, and as soon as TCP keep-alive would by its
    /// default. They cannot where frames are not read, nor for one that may be silent for good
    /// because the other has ended.
    pub(crate) fn pings_are_enough(&self, side: Side) -> bool {
        let keep_alive = match side {
            Side::Client => &self.keep_alive[LegId::Client],
            Side::Upstream => &self.keep_alive[LegId::Upstream],
            Side::Proxy => &None,
        };
        let is_soon = |schedule: &Arc<PingSchedule>| {
            let within = schedule.settings().notices_within();
            within.is_some_and(|within| within <= TCP_NOTICES)
        };
        keep_alive.as_ref().is_some_and(is_soon)
            && self.framing != Framing::Opaque
            && self.half_close_timeout.is_some()
    }

    /// Sets what takes over from the pings on each leg.
    pub(crate) fn set_tcp_fallback(&mut self, client: TcpFallback, upstream: TcpFallback) {
        self.falls_back_to_tcp = Pair::from([client, upstream]);
    }

    /// Returns the action with the close frame that the user's function makes of it.
    pub(super) fn customize_close(
        &self,
        end: &TunnelEnd,
        leg: LegId,
        action: CloseAction,
    ) -> CloseAction {
        match (action, &self.map_close) {
            (CloseAction::Close(frame), Some(map)) => {
                let customized = catch_panic(|| map(end, leg.into(), frame.clone()));
                CloseAction::Close(customized.unwrap_or_else(|_| {
                    tracing::error!("the function that changes close frames panicked");
                    frame
                }))
            }
            (action, _) => action,
        }
    }

    /// The timeouts of an end.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            close: self.close_timeout,
            handshake: self.close_handshake_timeout,
            half_close: self.half_close_timeout,
            write: self.write_timeout,
            burdened: self.burdened(),
        }
    }

    /// The write timeout, or its default: the time of a side that has much to read or take first.
    pub(super) fn burdened(&self) -> Duration {
        self.write_timeout.unwrap_or(BURDENED)
    }
}

impl Default for TunnelConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes the ping schedule that all tunnels of a configuration share, with one epoch.
fn shared(keep_alive: KeepAlive) -> Arc<PingSchedule> {
    Arc::new(PingSchedule::new(keep_alive, Instant::now()))
}

impl fmt::Debug for TunnelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keep_alive = |leg| {
            self.keep_alive[leg]
                .as_ref()
                .map(|schedule| *schedule.settings())
        };
        f.debug_struct("TunnelConfig")
            .field("framing", &self.framing)
            .field("client_keep_alive", &keep_alive(LegId::Client))
            .field("upstream_keep_alive", &keep_alive(LegId::Upstream))
            .field("idle_timeout", &self.idle_timeout)
            .field("max_lifetime", &self.max_lifetime)
            .field("half_close_timeout", &self.half_close_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("close_timeout", &self.close_timeout)
            .field("close_handshake_timeout", &self.close_handshake_timeout)
            .field("max_buffered", &self.max_buffered)
            .field("notsent_lowat", &self.notsent_lowat)
            .field("client_limits", &self.limits[LegId::Client])
            .field("upstream_limits", &self.limits[LegId::Upstream])
            .finish_non_exhaustive()
    }
}
