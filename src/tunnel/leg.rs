//! One leg of a tunnel: its stream, and what is known of its life.

use tokio::time::Instant;

use crate::{
    frame::{ControlFrame, EncodedControl},
    net::transport::{TcpKeepAlive, Transport},
    tunnel::report::Rtt,
};

use super::{
    config::TunnelConfig,
    keep_alive::{Action, Pinger},
    pair::LegId,
};

pub(super) struct Leg {
    pub(super) transport: Transport,
    pub(super) pinger: Option<Box<Pinger>>,
    /// When anything last came from this leg.
    pub(super) last_received: Instant,
}

impl Leg {
    pub(super) fn new(
        id: LegId,
        transport: Transport,
        config: &TunnelConfig,
        dice: f32,
        now: Instant,
    ) -> Self {
        let keep_alive = config.keep_alive[id].clone();
        Self {
            transport,
            pinger: keep_alive.map(|rhythm| Box::new(Pinger::new(rhythm, fastrand::u32(..), dice))),
            last_received: now,
        }
    }

    /// Looks at what keep-alive has due on this leg.
    pub(super) fn tick(&mut self, now: Instant, dice: f32) -> Action {
        self.pinger.as_mut().map_or(Action::Wait, |pinger| {
            pinger.tick(now, self.last_received, dice)
        })
    }

    /// The other leg is pinged now.
    pub(super) fn join(&mut self, now: Instant, dice: f32) {
        if let Some(pinger) = &mut self.pinger {
            pinger.join(now, self.last_received, dice);
        }
    }

    /// No ping can be put between frames any more: has the kernel look after the leg instead.
    pub(super) fn lose_pings(&self) {
        if self.pinger.is_some() {
            self.transport.keep_alive(&TcpKeepAlive::default());
        }
    }

    /// Round trips of our pings on this leg.
    pub(super) fn rtt(&self) -> Option<Rtt> {
        self.pinger.as_ref().and_then(|pinger| pinger.rtt())
    }

    /// Whether a ping to this leg waits for a frame boundary.
    pub(super) fn wants_ping(&self) -> bool {
        self.pinger.as_ref().is_some_and(|pinger| pinger.is_due())
    }

    /// The ping that goes out now, if one is due. `id` is this leg's.
    pub(super) fn ping(&mut self, id: LegId, now: Instant) -> Option<EncodedControl> {
        let pinger = self.pinger.as_mut().filter(|pinger| pinger.is_due())?;
        let cookie = pinger.sent(now);
        Some(encode_for(id, &ControlFrame::ping(&cookie)))
    }
}

/// A frame of ours as this leg must get it: masked if we are its client (RFC 6455 §5.1).
pub(super) fn encode_for(leg: LegId, frame: &ControlFrame) -> EncodedControl {
    match leg {
        LegId::Upstream => frame.encode(Some(masking_key())),
        LegId::Client => frame.encode(None),
    }
}

/// A key that nobody can foresee (RFC 6455 §5.3), although what we mask is our own.
fn masking_key() -> [u8; 4] {
    use std::hash::{BuildHasher, RandomState};
    // SipHash under a key from the operating system.
    let unforeseeable = RandomState::new().hash_one(fastrand::u64(..));
    let [a, b, c, d, ..] = unforeseeable.to_ne_bytes();
    [a, b, c, d]
}
