//! Keep-alive of one leg. Pure: time and what is known of the leg are arguments.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{instant::saturating_add, tunnel::report::Rtt};

use super::schedule::PingSchedule;

/// How many unanswered pings are remembered: a leg that talks but never answers gathers them.
const MAX_OUTSTANDING: u32 = 16;

/// Between two looks at what waits for a leg, if that is to say whether the leg lives. A single
/// write that succeeds proves nothing: tokio makes ready sockets wait now and then, and what is
/// between the tunnel and the peer takes bytes of its own.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Eight bytes that a ping of ours carries and its pong brings back.
pub(in crate::tunnel) type Cookie = [u8; 8];

/// What the timer should do about a leg.
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

/// What is known of a leg's life.
#[derive(Clone, Copy, Debug)]
pub(in crate::tunnel) struct Signs {
    /// When anything last came from the leg.
    pub(in crate::tunnel) last_received: Instant,
    /// When bytes of the other endpoint last went to it.
    pub(in crate::tunnel) last_sent: Instant,
    /// If bytes wait for it: how many of them it has taken.
    pub(in crate::tunnel) backlog: Option<u64>,
    /// Whether much went to it since anything last came.
    pub(in crate::tunnel) is_burdened: bool,
    /// How long it may take no bytes, or get half a frame.
    pub(in crate::tunnel) write_timeout: Option<Duration>,
    /// How long it may take to answer if it is burdened.
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
    /// The pong is overdue, but bytes wait for the leg: it had taken so many at this moment.
    Doubted { since: Instant, taken: u64 },
    /// No ping is sent any more.
    Off,
}

/// Which boundary a ping waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// That of a message.
    Message,
    /// That of any frame.
    Frame,
}

/// Keep-alive of one leg.
#[derive(Debug)]
pub(in crate::tunnel) struct Pinger {
    /// Shared by all tunnels: quiet ones are counted in bytes.
    schedule: Arc<PingSchedule>,
    state: State,
    /// Upper half of every cookie: tells our pongs from the endpoint's own.
    secret: u32,
    /// Lower half of the newest cookie sent; 0 before the first.
    sent: u32,
    /// Lower half of the newest cookie that came back.
    answered: u32,
    /// The newest ping that a pong without a cookie was taken for the answer to.
    odd_answer: u32,
    sent_at: Option<Instant>,
    /// Jitter of the interval after the newest ping: thrown with the ping, so that legs which are
    /// pinged together are due together again.
    dice: f32,
    rtt: Option<Rtt>,
    /// Whether nobody was told of the newest round trip yet.
    has_rtt_update: bool,
}

impl Pinger {
    pub(in crate::tunnel) fn new(schedule: Arc<PingSchedule>, secret: u32, dice: f32) -> Self {
        let interval = schedule.settings().jittered(dice.into());
        Self {
            schedule,
            state: State::Listening { interval },
            secret,
            sent: 0,
            answered: 0,
            odd_answer: 0,
            sent_at: None,
            dice,
            rtt: None,
            has_rtt_update: false,
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
            // Behind bytes that the leg does not take, the write timeout looks after it.
            State::Due { .. } if signs.backlog.is_some() => None,
            State::Due { since, .. } => Some(saturating_add(
                since.max(signs.last_sent),
                signs.write_timeout?,
            )),
            State::Queued | State::Off => None,
            State::Awaiting { since } => {
                let timeout = settings.pong_timeout?;
                let timeout = match signs.is_burdened {
                    true => timeout.max(signs.burdened),
                    false => timeout,
                };
                Some(saturating_add(since, timeout))
            }
            State::Doubted { since, .. } => Some(saturating_add(since, BETWEEN_LOOKS)),
        }
    }

    /// Looks at what is due.
    pub(in crate::tunnel) fn tick(&mut self, now: Instant, signs: &Signs, dice: f32) -> Action {
        if self.deadline(signs).is_none_or(|deadline| deadline > now) {
            return Action::Wait;
        }
        match self.state {
            // Listening => Due: quiet for the whole interval.
            State::Listening { .. } => {
                self.fall_due(now, dice);
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
            // Awaiting, Doubted => Listening: something came, so the leg lives, pong or not.
            State::Awaiting { since } | State::Doubted { since, .. }
                if signs.last_received > since =>
            {
                self.listen(signs.last_received);
            }
            State::Awaiting { .. } => match signs.backlog {
                // Awaiting => Doubted: it may be busy with what came before the ping.
                Some(taken) => self.state = State::Doubted { since: now, taken },
                None => return Action::Dead,
            },
            // Doubted => Awaiting: it takes what waits for it, so it lives.
            State::Doubted { taken, .. } if signs.backlog.is_none_or(|now| now > taken) => {
                self.state = State::Awaiting { since: now };
            }
            State::Doubted { .. } => return Action::Dead,
        }
        Action::Wait
    }

    /// The other leg is pinged now: so is this one, if its jitter allows that already.
    pub(in crate::tunnel) fn join(&mut self, now: Instant, last_received: Instant, dice: f32) {
        let is_listening = matches!(self.state, State::Listening { .. });
        if is_listening && saturating_add(last_received, self.schedule.shortest()) <= now {
            self.fall_due(now, dice);
        }
    }

    /// Sends no ping any more.
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
    pub(in crate::tunnel) fn spares_messages(&self) -> bool {
        matches!(
            self.state,
            State::Due {
                patience: Patience::Message,
                ..
            }
        )
    }

    /// A ping goes out now: the payload to put in it.
    pub(in crate::tunnel) fn sent(&mut self, now: Instant, last_received: Instant) -> Cookie {
        self.state = match self.schedule.settings().pong_timeout {
            Some(_) => State::Awaiting { since: now },
            None => {
                let interval = self.schedule.interval(now, self.dice.into());
                let quiet = now.saturating_duration_since(last_received);
                State::Listening {
                    interval: quiet.saturating_add(interval),
                }
            }
        };
        self.sent = self.sent.wrapping_add(1);
        self.sent_at = Some(now);
        self.cookie(self.sent)
    }

    /// The ping that went out waits behind bytes that the leg has not taken: the time for its pong
    /// has not begun.
    pub(in crate::tunnel) fn queue(&mut self) {
        if let State::Awaiting { .. } = self.state {
            self.state = State::Queued;
        }
    }

    /// All that waited for the leg was handed over.
    pub(in crate::tunnel) fn delivered(&mut self, now: Instant) {
        if self.state == State::Queued {
            self.state = State::Awaiting { since: now };
            self.sent_at = Some(now);
        }
    }

    /// Whether a pong of ours is still on its way.
    pub(in crate::tunnel) fn expects_pong(&self) -> bool {
        self.sent != self.answered
    }

    /// Takes a pong's payload; true if it answers a ping of ours that was not answered before.
    ///
    /// An endpoint may answer only the newest of several pings (RFC 6455 §5.5.3), so a pong
    /// settles every earlier ping too.
    pub(in crate::tunnel) fn take_pong(&mut self, payload: &[u8], now: Instant) -> bool {
        let Ok(cookie) = Cookie::try_from(payload) else {
            return false;
        };
        let outstanding = self.sent.wrapping_sub(self.answered).min(MAX_OUTSTANDING);
        let Some(age) =
            (0..outstanding).find(|age| self.cookie(self.sent.wrapping_sub(*age)) == cookie)
        else {
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
            self.listen(now);
        }
        true
    }

    /// Takes a pong with a payload that is not ours, although it can only be meant for us; true if
    /// it is the first for a ping of ours that was not answered. It may have come by itself, so it
    /// measures nothing, and the true answer is still ours.
    pub(in crate::tunnel) fn take_odd_pong(&mut self, now: Instant) -> bool {
        let is_answered = !self.expects_pong() || self.odd_answer == self.sent;
        // The peer cannot answer what was not handed over.
        if is_answered || self.state == State::Queued {
            return false;
        }
        self.odd_answer = self.sent;
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

    fn fall_due(&mut self, now: Instant, dice: f32) {
        self.state = State::Due {
            since: now,
            patience: match self.schedule.settings().patience {
                Some(_) => Patience::Message,
                None => Patience::Frame,
            },
        };
        self.dice = dice;
    }

    fn listen(&mut self, last_received: Instant) {
        if self.state != State::Off {
            let interval = self.schedule.interval(last_received, self.dice.into());
            self.state = State::Listening { interval };
        }
    }

    fn cookie(&self, number: u32) -> Cookie {
        let mut cookie = [0; 8];
        cookie[..4].copy_from_slice(&self.secret.to_be_bytes());
        cookie[4..].copy_from_slice(&number.to_be_bytes());
        cookie
    }
}
