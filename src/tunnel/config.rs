//! The settings of a tunnel.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{error::Side, frame::CloseFrame, observe::Observer, tunnel::report::TunnelEnd};

use super::{
    close::Farewell,
    keep_alive::{KeepAlive, Rhythm},
    limits::Limits,
    pair::{LegId, Pair},
};

/// How long the default of TCP keep-alive takes to find that a side is gone.
const TCP_NOTICES: Duration = Duration::from_secs(4 * 60);

/// How strictly the tunnel reads the frames that pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// Frames are located and nothing is judged. Where the bytes stop being frames, the tunnel
    /// goes on without looking, and without pings and closes of its own.
    #[default]
    Observe,
    /// A side that breaks RFC 6455 §5 (masking direction, control frame length, fragmentation,
    /// length encoding, reserved bits and opcodes) is closed with 1002.
    Enforce,
    /// Bytes are moved unread: no frame counts, no pings, no close frames of the proxy's own.
    Opaque,
}

/// Settings of a tunnel: its waits, its limits, and what it does at frame boundaries.
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
    pub(super) keep_alive: Pair<Option<Arc<Rhythm>>>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_lifetime: Option<Duration>,
    pub(super) lifetime_jitter: f64,
    pub(super) half_close_timeout: Option<Duration>,
    pub(super) write_timeout: Option<Duration>,
    pub(super) close_timeout: Duration,
    pub(super) limits: Pair<Limits>,
    restyle: Option<Arc<Restyle>>,
    /// Shared by all tunnels of a proxy, as the rest is.
    pub(super) observer: Option<Arc<dyn Observer>>,
}

type Restyle = dyn Fn(&TunnelEnd, Side, CloseFrame) -> CloseFrame + Send + Sync;

impl TunnelConfig {
    /// The defaults: no keep-alive, no idle timeout, no maximum lifetime, no limits; half-close
    /// linger 10 s, write timeout 60 s, close timeout 5 s.
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
            limits: Pair::default(),
            restyle: None,
            observer: None,
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
    pub fn half_close_timeout(mut self, half_close_timeout: impl Into<Option<Duration>>) -> Self {
        self.half_close_timeout = half_close_timeout.into();
        self
    }

    /// Ends a tunnel when a side takes none of the bytes that wait for it for this long.
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.write_timeout = timeout.into();
        self
    }

    /// How long a side may take to answer a close frame of ours before it is reset.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// Limits on what each side may send.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Pair::new(|_| limits);
        self
    }

    /// Limits on what the client may send.
    pub fn client_limits(mut self, limits: Limits) -> Self {
        self.limits[LegId::Client] = limits;
        self
    }

    /// Limits on what the upstream may send.
    pub fn upstream_limits(mut self, limits: Limits) -> Self {
        self.limits[LegId::Upstream] = limits;
        self
    }

    /// Changes the code or reason of the close frames that the proxy sends. The function sees
    /// why the tunnel ends, which side the frame goes to, and the frame as it would be.
    pub fn map_close_frame<F>(mut self, restyle: F) -> Self
    where
        F: Fn(&TunnelEnd, Side, CloseFrame) -> CloseFrame + Send + Sync + 'static,
    {
        self.restyle = Some(Arc::new(restyle));
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
        let is_soon = |rhythm: &Arc<Rhythm>| rhythm.settings().notices_within() <= TCP_NOTICES;
        keep_alive.as_ref().is_some_and(is_soon)
            && self.framing != Framing::Opaque
            && self.half_close_timeout.is_some()
    }

    /// Shows an observer the tunnels' pongs.
    pub(crate) fn observed(mut self, observer: Option<Arc<dyn Observer>>) -> Self {
        self.observer = observer;
        self
    }

    /// The farewell with the user's wording.
    pub(super) fn worded(&self, end: &TunnelEnd, leg: LegId, farewell: Farewell) -> Farewell {
        match (farewell, &self.restyle) {
            (Farewell::Close(frame), Some(restyle)) => {
                Farewell::Close(restyle(end, leg.into(), frame))
            }
            (farewell, _) => farewell,
        }
    }
}

impl Default for TunnelConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// All tunnels of a configuration count time from here.
fn shared(keep_alive: KeepAlive) -> Arc<Rhythm> {
    Arc::new(Rhythm::new(keep_alive, Instant::now()))
}

impl fmt::Debug for TunnelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keep_alive = |leg| {
            self.keep_alive[leg]
                .as_ref()
                .map(|rhythm| *rhythm.settings())
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
            .field("client_limits", &self.limits[LegId::Client])
            .field("upstream_limits", &self.limits[LegId::Upstream])
            .finish_non_exhaustive()
    }
}
