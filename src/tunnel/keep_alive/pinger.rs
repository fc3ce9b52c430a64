//! Keep-alive of one leg. Pure: the time and the leg's signs of life are arguments.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{instant::saturating_add, tunnel::traffic::Rtt};

use super::schedule::PingSchedule;

/// Time between two checks whether a leg takes the bytes that wait for it, which shows that it
/// lives. A single successful write proves nothing: tokio makes ready sockets wait now and then,
/// and buffers between the tunnel and the peer take bytes as well.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Payload of a ping of ours, which its pong must echo (RFC 6455 §5.5.3).
pub(in crate::tunnel) type Cookie = [u8; 8];

/// Action on a leg when its deadline passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tunnel) enum Action {
    /// Nothing is due.
    Wait,
    /// A ping is due; call [`Pinger::sent`] when it goes out.
    Ping,
    /// The leg has shown no sign of life since the last ping, and its time is up.
    Dead,
    /// A ping has waited too long for the end of a frame that does not come.
    Stuck,
}

/// Signs of life of a leg.
#[derive(Clone, Copy, Debug)]
pub(in crate::tunnel) struct Signs {
    /// When anything last came from the leg.
    pub(in crate::tunnel) last_received: Instant,
    /// When bytes of the other endpoint last went to it.
    pub(in crate::tunnel) last_sent: Instant,
    /// The number of bytes that it has taken, if others still wait for it.
    pub(in crate::tunnel) backlog: Option<u64>,
    /// Whether much went to it since anything last came.
    pub(in crate::tunnel) is_burdened: bool,
    /// Time for its pong if the leg is burdened, and for the end of a frame to it: the write timeout
    /// or its default.
    pub(in crate::tunnel) burdened: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Pings once the leg has been quiet for this long.
    Listening { interval: Duration },
    /// A ping is due since this moment, and waits for a boundary.
    Due { since: Instant, patience: Patience },
    /// A ping went out, and waits behind bytes that the leg has not taken.
    Queued,
    /// A ping was handed over at this moment.
    Awaiting { since: Instant },
    /// The pong is overdue, but bytes wait for the leg: `taken` is the number that it had taken at
    /// this moment.
    Doubted { since: Instant, taken: u64 },
    /// Pings are no longer sent.
    Off,
}

/// Which boundary a ping waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// The end of a message.
    Message,
    /// The end of any frame.
    Frame,
}

/// Keep-alive of one leg.
#[derive(Debug)]
pub(in crate::tunnel) struct Pinger {
    /// Shared by all tunnels: quiet ones are counted in bytes.
    schedule: Arc<PingSchedule>,
    state: State,
    /// Upper half of every cookie: distinguishes pongs to our pings from others.
    secret: u32,
    /// Lower half of the newest cookie sent; 0 before the first.
    sent: u32,
    /// Lower half of the newest cookie that came back.
    answered: u32,
    /// Lower half of the newest cookie whose ping was answered by a pong without a cookie.
    odd_answer: u32,
    sent_at: Option<Instant>,
    /// Random sample for the jitter of the interval after the newest ping: chosen with the ping, so
    /// that legs which are pinged together are due together again.
    jitter_sample: f32,
    rtt: Option<Rtt>,
    /// Whether the newest round trip was not taken yet.
    has_rtt_update: bool,
    /// Bytes that went to the leg since the newest ping, saturating.
    sent_since_ping: u32,
    /// Those of them that had gone when the newest ping was answered: the leg may not have read
    /// them, because its pong came before them.
    unread: u32,
}

impl Pinger {
    pub(in crate::tunnel) fn new(
        schedule: Arc<PingSchedule>,
        secret: u32,
        jitter_sample: f32,
    ) -> Self {
        let interval = schedule.settings().jittered(jitter_sample.into());
        Self {
            schedule,
            state: State::Listening { interval },
            secret,
            sent: 0,
            answered: 0,
            odd_answer: 0,
            sent_at: None,
            jitter_sample,
            rtt: None,
            has_rtt_update: false,
            sent_since_ping: 0,
            unread: 0,
        }
    }

    /// When [`tick`](Self::tick) should be called next, if nothing happens before.
    pub(in crate::tunnel) fn deadline(&self, signs: &Signs) -> Option<Instant> {
        let settings = self.schedule.settings();
        match self.state {
            State::Listening { interval } => Some(saturating_add(signs.last_received, interval)),
            State::Due {
                since,
                patience: Patience::Message,
            } => Some(saturating_add(since, settings.patience?)),
            // The write timeout applies while the leg does not take the bytes before the ping.
            State::Due { .. } if signs.backlog.is_some() => None,
            State::Due { since, .. } => {
                Some(saturating_add(since.max(signs.last_sent), signs.burdened))
            }
            State::Queued | State::Off => None,
            State::Awaiting { since } => {
                let timeout = settings.pong_timeout?;
                let timeout = match signs.is_burdened {
                    true => timeout.max(signs.burdened),
                    false => timeout,
                };
                Some(saturating_add(since, timeout))
            }
            State::Doubted { since, .. } => Some(saturating_add(since, RECHECK_INTERVAL)),
        }
    }

    /// The [`deadline`](Self::deadline) of a leg that is only listened to, which is what most legs
    /// are at most times.
    #[inline]
    pub(in crate::tunnel) fn listens_until(&self, last_received: Instant) -> Option<Instant> {
        match self.state {
            State::Listening { interval } => Some(saturating_add(last_received, interval)),
            _ => None,
        }
    }

    /// Advances the state to `now`, and returns the action that is due.
    pub(in crate::tunnel) fn tick(
        &mut self,
        now: Instant,
        signs: &Signs,
        jitter_sample: f32,
    ) -> Action {
        if self.deadline(signs).is_none_or(|deadline| deadline > now) {
            return Action::Wait;
        }
        match self.state {
            // Listening => Due: quiet for the whole interval.
            State::Listening { .. } => {
                self.fall_due(now, jitter_sample);
                return Action::Ping;
            }
            State::Due {
                since,
                patience: Patience::Message,
            } => {
                self.state = State::Due {
                    since,
                    patience: Patience::Frame,
                };
            }
            State::Due { .. } => return Action::Stuck,
            State::Queued | State::Off => {}
            // Awaiting, Doubted => Listening: bytes came, so the leg lives, pong or not.
            State::Awaiting { since } | State::Doubted { since, .. }
                if signs.last_received > since =>
            {
                self.listen(signs.last_received);
            }
            State::Awaiting { .. } => match signs.backlog {
                // Awaiting => Doubted: the leg may be busy with the bytes before the ping.
                Some(taken) => self.state = State::Doubted { since: now, taken },
                None => return Action::Dead,
            },
            // Doubted => Awaiting: the leg takes the bytes that wait for it, so it lives.
            State::Doubted { taken, .. } if signs.backlog.is_none_or(|now| now > taken) => {
                self.state = State::Awaiting { since: now };
            }
            State::Doubted { .. } => return Action::Dead,
        }
        Action::Wait
    }

    /// Pings this leg together with the other one, if its jitter allows that already.
    pub(in crate::tunnel) fn join(
        &mut self,
        now: Instant,
        last_received: Instant,
        jitter_sample: f32,
    ) {
        let is_listening = matches!(self.state, State::Listening { .. });
        if is_listening && saturating_add(last_received, self.schedule.shortest()) <= now {
            self.fall_due(now, jitter_sample);
        }
    }

    /// Stops pinging.
    pub(in crate::tunnel) fn stop(&mut self) {
        self.state = State::Off;
    }

    /// Whether a ping waits for its boundary.
    #[inline]
    pub(in crate::tunnel) fn is_due(&self) -> bool {
        matches!(self.state, State::Due { .. })
    }

    /// Whether a ping waits for the end of a message.
    #[inline]
    pub(in crate::tunnel) fn waits_for_message_end(&self) -> bool {
        matches!(
            self.state,
            State::Due {
                patience: Patience::Message,
                ..
            }
        )
    }

    /// Notes that a ping is sent now, and returns its payload.
    pub(in crate::tunnel) fn sent(&mut self, now: Instant, last_received: Instant) -> Cookie {
        self.state = match self.schedule.settings().pong_timeout {
            Some(_) => State::Awaiting { since: now },
            None => {
                let interval = self.schedule.interval(now, self.jitter_sample.into());
                let quiet = now.saturating_duration_since(last_received);
                State::Listening {
                    interval: quiet.saturating_add(interval),
                }
            }
        };
        self.sent = self.sent.wrapping_add(1);
        self.sent_at = Some(now);
        self.sent_since_ping = 0;
        self.cookie(self.sent)
    }

    /// Notes bytes that go to the leg.
    #[inline]
    pub(in crate::tunnel) const fn note_sent(&mut self, len: u32) {
        self.sent_since_ping = self.sent_since_ping.saturating_add(len);
    }

    /// Bytes that the leg may not have read although it has answered a ping.
    pub(in crate::tunnel) const fn unread(&self) -> u32 {
        self.unread
    }

    /// Notes that the ping waits behind bytes that the leg has not taken: the time for its pong has
    /// not begun.
    pub(in crate::tunnel) fn queue(&mut self) {
        if let State::Awaiting { .. } = self.state {
            self.state = State::Queued;
        }
    }

    /// Notes that all bytes that waited for the leg were handed over.
    pub(in crate::tunnel) fn delivered(&mut self, now: Instant) {
        if self.state == State::Queued {
            self.state = State::Awaiting { since: now };
            self.sent_at = Some(now);
        }
    }

    /// Whether a ping of ours has not been answered.
    pub(in crate::tunnel) fn expects_pong(&self) -> bool {
        self.sent != self.answered
    }

    /// Takes a pong's payload; returns true if it answers a ping of ours that was not answered
    /// before.
    ///
    /// An endpoint may answer only the newest of several pings (RFC 6455 §5.5.3), so a pong
    /// settles every earlier ping too.
    pub(in crate::tunnel) fn take_pong(&mut self, payload: &[u8], now: Instant) -> bool {
        let Some(age) = self.age(payload) else {
            return false;
        };
        self.answered = self.sent.wrapping_sub(age);
        if let (0, Some(sent_at)) = (age, self.sent_at) {
            let sample = now.saturating_duration_since(sent_at);
            self.rtt = Some(
                self.rtt
                    .map_or_else(|| Rtt::first(sample), |rtt| rtt.with(sample)),
            );
            self.has_rtt_update = true;
            self.unread = self.sent_since_ping;
            self.listen(now);
        }
        true
    }

    /// Takes a pong without a cookie that can only be meant for us; returns true if it is the first
    /// for a ping of ours that was not answered. The pong may be unsolicited, so no round trip is
    /// measured, and a later one with the cookie is still taken.
    pub(in crate::tunnel) fn take_odd_pong(&mut self, now: Instant) -> bool {
        let is_answered = !self.expects_pong() || self.odd_answer == self.sent;
        // The peer cannot answer what was not handed over.
        if is_answered || self.state == State::Queued {
            return false;
        }
        self.odd_answer = self.sent;
        self.unread = self.sent_since_ping;
        self.listen(now);
        true
    }

    /// Round trips of our pings so far.
    pub(in crate::tunnel) fn rtt(&self) -> Option<Rtt> {
        self.rtt
    }

    /// Whether a round trip was measured since the last
    /// [`take_rtt_update`](Self::take_rtt_update).
    pub(in crate::tunnel) const fn has_rtt_update(&self) -> bool {
        self.has_rtt_update
    }

    /// The newest round trip, if it was measured since the last call.
    pub(in crate::tunnel) fn take_rtt_update(&mut self) -> Option<Rtt> {
        self.rtt
            .filter(|_| std::mem::take(&mut self.has_rtt_update))
    }

    fn fall_due(&mut self, now: Instant, jitter_sample: f32) {
        self.state = State::Due {
            since: now,
            patience: match self.schedule.settings().patience {
                Some(_) => Patience::Message,
                None => Patience::Frame,
            },
        };
        self.jitter_sample = jitter_sample;
    }

    fn listen(&mut self, last_received: Instant) {
        if self.state != State::Off {
            let interval = self
                .schedule
                .interval(last_received, self.jitter_sample.into());
            self.state = State::Listening { interval };
        }
    }

    /// Returns how many pings were sent after the one that this payload answers, if that one is ours
    /// and was not answered.
    fn age(&self, payload: &[u8]) -> Option<u32> {
        let (secret, number) = payload.split_first_chunk()?;
        let number = u32::from_be_bytes(number.try_into().ok()?);
        let age = self.sent.wrapping_sub(number);
        let is_outstanding = age < self.sent.wrapping_sub(self.answered);
        (u32::from_be_bytes(*secret) == self.secret && is_outstanding).then_some(age)
    }

    fn cookie(&self, number: u32) -> Cookie {
        let mut cookie = [0; 8];
        cookie[..4].copy_from_slice(&self.secret.to_be_bytes());
        cookie[4..].copy_from_slice(&number.to_be_bytes());
        cookie
    }
}
