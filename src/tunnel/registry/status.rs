//! Figures of a running tunnel.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{error::Side, tunnel::info::TunnelInfo, tunnel::traffic::Rtt};

/// One line of a [`Registry::list`](super::Registry::list): a tunnel and its figures at that
/// moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TunnelStatus {
    /// The facts of the tunnel that are known from its start.
    pub info: TunnelInfo,
    /// The client's leg.
    pub client: LegStatus,
    /// The upstream's leg.
    pub upstream: LegStatus,
}

/// The figures of one leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LegStatus {
    /// Bytes that came from this leg and were forwarded.
    pub bytes: u64,
    /// Frames that came from this leg.
    pub frames: u64,
    /// When something last came from this leg, counted from the tunnel's start.
    pub last_received: Duration,
    /// The newest round trip of a ping of ours on this leg.
    pub rtt: Option<Duration>,
}

/// Bytes and frames that a registry's tunnels have forwarded, by direction; see
/// [`Registry::traffic`](super::Registry::traffic).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// From clients to upstreams.
    pub client_to_upstream: DirectionTraffic,
    /// From upstreams to clients.
    pub upstream_to_client: DirectionTraffic,
}

/// Bytes and frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectionTraffic {
    /// Forwarded bytes.
    pub bytes: u64,
    /// Frames of any kind.
    pub frames: u64,
}

impl Traffic {
    pub(super) const fn add(&mut self, other: Self) {
        self.client_to_upstream.add(other.client_to_upstream);
        self.upstream_to_client.add(other.upstream_to_client);
    }
}

impl DirectionTraffic {
    const fn add(&mut self, other: Self) {
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.frames = self.frames.wrapping_add(other.frames);
    }
}

/// The live figures of both legs. Only the tunnel writes them; any thread may read them.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    client: LegFigures,
    upstream: LegFigures,
}

#[derive(Debug, Default)]
struct LegFigures {
    bytes: AtomicU64,
    frames: AtomicU64,
    last_received_ms: AtomicU64,
    /// Plus one, so that zero means that no ping has been answered yet.
    rtt_us: AtomicU64,
}

impl Figures {
    pub(crate) fn publish(
        &self,
        side: Side,
        bytes: u64,
        frames: u64,
        last_received: Duration,
        rtt: Option<Rtt>,
    ) {
        let leg = match side {
            Side::Client => &self.client,
            Side::Upstream | Side::Proxy => &self.upstream,
        };
        leg.bytes.store(bytes, Ordering::Relaxed);
        leg.frames.store(frames, Ordering::Relaxed);
        leg.last_received_ms
            .store(whole(last_received.as_millis()), Ordering::Relaxed);
        let rtt = rtt.map_or(0, |rtt| whole(rtt.last().as_micros()).saturating_add(1));
        leg.rtt_us.store(rtt, Ordering::Relaxed);
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            client_to_upstream: self.client.traffic(),
            upstream_to_client: self.upstream.traffic(),
        }
    }

    pub(super) fn status(&self, info: &TunnelInfo) -> TunnelStatus {
        TunnelStatus {
            info: info.clone(),
            client: self.client.status(),
            upstream: self.upstream.status(),
        }
    }
}

impl LegFigures {
    fn traffic(&self) -> DirectionTraffic {
        DirectionTraffic {
            bytes: self.bytes.load(Ordering::Relaxed),
            frames: self.frames.load(Ordering::Relaxed),
        }
    }

    fn status(&self) -> LegStatus {
        let rtt_us = self.rtt_us.load(Ordering::Relaxed);
        LegStatus {
            bytes: self.bytes.load(Ordering::Relaxed),
            frames: self.frames.load(Ordering::Relaxed),
            last_received: Duration::from_millis(self.last_received_ms.load(Ordering::Relaxed)),
            rtt: rtt_us.checked_sub(1).map(Duration::from_micros),
        }
    }
}

fn whole(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
