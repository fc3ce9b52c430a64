//! One leg of a tunnel: its stream, its pinger and its signs of life.

use tokio::time::Instant;

use crate::{
    frame::{ControlFrame, EncodedControl},
    net::transport::{TcpKeepAlive, Transport},
    tunnel::traffic::Rtt,
};

use super::{
    config::{TcpFallback, TunnelConfig},
    keep_alive::{Action, Pinger, Signs},
    pair::LegId,
    reattach::Restoration,
    track::{Awaited, UnansweredPings},
};

/// Bytes that the buffers of kernels can hold on the way to a leg; a ping that follows them is
/// read late.
const BURDEN: u32 = 256 * 1024;

/// The connection to one endpoint.
pub(super) struct Leg {
    pub(super) transport: Transport,
    pub(super) pinger: Option<Box<Pinger>>,
    /// When anything last came from this leg.
    pub(super) last_received: Instant,
    /// Bytes that went to this leg since anything last came from it, saturating.
    unacknowledged: u32,
    /// Pings of the other endpoint that this one has not answered.
    unanswered_pings: UnansweredPings,
    tcp_fallback: TcpFallback,
    was_cut: bool,
    /// Whether the connection was lost, and another one may take its place.
    is_detached: bool,
}

impl Leg {
    pub(super) fn new(
        id: LegId,
        transport: Transport,
        config: &TunnelConfig,
        jitter_sample: f32,
        now: Instant,
    ) -> Self {
        let keep_alive = config.keep_alive[id].clone();
        if let Some(bytes) = config.notsent_lowat {
            transport.notsent_lowat(bytes);
        }
        Self {
            transport,
            pinger: keep_alive
                .map(|schedule| Box::new(Pinger::new(schedule, fastrand::u32(..), jitter_sample))),
            last_received: now,
            unacknowledged: 0,
            unanswered_pings: UnansweredPings::default(),
            tcp_fallback: config.falls_back_to_tcp[id],
            was_cut: false,
            is_detached: false,
        }
    }

    /// Notes that bytes came from this leg.
    #[inline]
    pub(super) fn received(&mut self, now: Instant) {
        self.last_received = now;
        self.unacknowledged = 0;
    }

    /// Notes that the leg is read again after a limit's pause: the time for its next sign of life
    /// begins. Bytes that came before the pause are none.
    pub(super) fn end_pause(&mut self, now: Instant) {
        self.last_received = now;
    }

    /// Notes bytes that go to this leg.
    #[inline]
    pub(super) fn note_sent(&mut self, len: usize) {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.unacknowledged = self.unacknowledged.saturating_add(len);
        if let Some(pinger) = &mut self.pinger {
            pinger.note_sent(len);
        }
    }

    /// Whether the leg may have much to read before it can send a pong or a close.
    pub(super) fn is_burdened(&self) -> bool {
        let unread = self.pinger.as_ref().map_or(0, |pinger| pinger.unread());
        self.unacknowledged.saturating_add(unread) > BURDEN
    }

    /// Advances keep-alive on this leg to `now`.
    pub(super) fn tick(&mut self, now: Instant, signs: &Signs, jitter_sample: f32) -> Action {
        let pinger = self.pinger.as_mut();
        pinger.map_or(Action::Wait, |pinger| {
            pinger.tick(now, signs, jitter_sample)
        })
    }

    /// Pings this leg together with the other one, if its interval allows.
    pub(super) fn join(&mut self, now: Instant, jitter_sample: f32) {
        if let Some(pinger) = &mut self.pinger {
            pinger.join(now, self.last_received, jitter_sample);
        }
    }

    /// Stops pings, because the leg has closed: it owes no pong any more (RFC 6455 §5.5.2).
    pub(super) fn end_pings(&mut self) {
        if let Some(pinger) = &mut self.pinger {
            pinger.stop();
        }
    }

    /// Stops pings, because they can no longer be put between frames or pongs no longer be found.
    pub(super) fn lose_pings(&mut self) {
        if self.pinger.is_some() && self.tcp_fallback == TcpFallback::KeepAlive {
            self.transport.keep_alive(&TcpKeepAlive::default());
        }
        self.end_pings();
    }

    /// Round trips of our pings on this leg.
    pub(super) fn rtt(&self) -> Option<Rtt> {
        self.pinger.as_ref().and_then(|pinger| pinger.rtt())
    }

    /// Whether a ping to this leg waits for a frame boundary.
    #[inline]
    pub(super) fn wants_ping(&self) -> bool {
        self.pinger.as_ref().is_some_and(|pinger| pinger.is_due())
    }

    /// Whether a ping to this leg waits for the end of a message.
    #[inline]
    pub(super) fn waits_for_message_end(&self) -> bool {
        self.pinger
            .as_ref()
            .is_some_and(|pinger| pinger.waits_for_message_end())
    }

    /// Returns the ping to send now, if one is due. `id` is this leg's.
    pub(super) fn ping(&mut self, id: LegId, now: Instant) -> Option<EncodedControl> {
        let pinger = self.pinger.as_mut().filter(|pinger| pinger.is_due())?;
        let cookie = pinger.sent(now, self.last_received);
        Some(encode_for(id, &ControlFrame::ping(&cookie)))
    }

    /// Notes that the ping waits behind bytes that the leg has not taken.
    pub(super) fn queue_ping(&mut self) {
        if let Some(pinger) = &mut self.pinger {
            pinger.queue();
        }
    }

    /// Notes that the leg took all bytes that waited for it.
    pub(super) fn delivered(&mut self, now: Instant) {
        if let Some(pinger) = &mut self.pinger {
            pinger.delivered(now);
        }
    }

    /// Adds pings of the other endpoint that went to this one.
    #[inline]
    pub(super) fn expect_pongs(&mut self, pings: UnansweredPings) {
        self.unanswered_pings.add(pings);
    }

    /// The pongs that are awaited from this leg.
    #[inline]
    pub(super) fn awaited(&mut self) -> Awaited<'_> {
        Awaited {
            pinger: self.pinger.as_deref_mut(),
            unanswered_pings: &mut self.unanswered_pings,
            filter: None,
        }
    }

    /// The number of pings of the other endpoint that this one has not answered; they are
    /// forgotten.
    pub(super) fn take_unanswered_pings(&mut self) -> u8 {
        std::mem::take(&mut self.unanswered_pings).count()
    }

    /// Takes the lost connection away.
    pub(super) fn detach(&mut self) -> Transport {
        self.is_detached = true;
        let nothing = Transport::new(tokio::io::empty());
        std::mem::replace(&mut self.transport, nothing)
    }

    /// Whether the leg has no connection, which may get another one.
    pub(super) const fn is_detached(&self) -> bool {
        self.is_detached
    }

    /// Drops the connection at once.
    pub(super) fn abort(&mut self) {
        self.was_cut |= !self.is_detached;
        let nothing = Transport::new(tokio::io::empty());
        std::mem::replace(&mut self.transport, nothing).abort_on_drop();
    }

    /// Whether the connection was dropped where it stood.
    pub(super) const fn was_cut(&self) -> bool {
        self.was_cut
    }
}

impl Restoration {
    /// Takes the steps up to the last wait: each time the masked frames to send, and the number of
    /// messages to wait for then.
    pub(crate) fn take_stages(&mut self) -> Vec<(Vec<u8>, usize)> {
        self.take_stages_with(masking_key)
    }
}

/// Encodes a frame of ours for this leg: masked if we are its client (RFC 6455 §5.1).
pub(super) fn encode_for(leg: LegId, frame: &ControlFrame) -> EncodedControl {
    match leg {
        LegId::Upstream => frame.encode(Some(masking_key())),
        LegId::Client => frame.encode(None),
    }
}

/// Returns an unpredictable masking key (RFC 6455 §5.3).
pub(super) fn masking_key() -> [u8; 4] {
    use std::hash::{BuildHasher, RandomState};
    // SipHash under a key from the operating system.
    let unpredictable = RandomState::new().hash_one(fastrand::u64(..));
    let [a, b, c, d, ..] = unpredictable.to_ne_bytes();
    [a, b, c, d]
}
