//! When to ping a leg, and when to call it dead. Pure: `(event, now) -> action`.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{later::later, report::Rtt};

/// How to keep the legs of a tunnel alive: WebSocket pings (RFC 6455 §5.5.2) on each leg that
/// has been quiet, each to be answered in time.
///
/// The default pings after 20 s ± 10 % and waits 10 s for the pong. Hops that drop quiet
/// connections commonly do so at 60 s (AWS load balancers, nginx): a ping every 60 s loses that
/// race, one every 20 s wins it twice over.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::KeepAlive;
///
/// let keep_alive = KeepAlive::default()
///     .interval(Duration::from_secs(25))
///     .pong_timeout(Duration::from_secs(5));
/// # let _ = keep_alive;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct KeepAlive {
    interval: Duration,
    jitter: f64,
    pong_timeout: Duration,
}

/// How many unanswered pings are remembered: a leg that talks but never answers gathers them.
const MAX_OUTSTANDING: u32 = 16;

/// The shortest interval: a zero would ping without end.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

impl KeepAlive {
    /// The default settings: 20 s ± 10 %, pong within 10 s.
    pub const fn new() -> Self {
        Self {
            interval: Duration::from_secs(20),
            jitter: 0.1,
            pong_timeout: Duration::from_secs(10),
        }
    }

    /// Pings a leg from which nothing has come for this long.
    ///
    /// What a leg sends proves that it lives, so a leg that talks is never pinged. What is sent
    /// *to* it proves nothing.
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Spreads each interval by this share of itself, up or down (0.1 is ± 10 %), so that
    /// tunnels that were opened together don't ping together. Limited to 0 ..= 0.5.
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Calls a leg dead that has sent nothing at all for this long after a ping.
    pub const fn pong_timeout(mut self, timeout: Duration) -> Self {
        self.pong_timeout = timeout;
        self
    }

    /// How long a leg can be gone, at most, until that is found out.
    pub(super) const fn notices_within(&self) -> Duration {
        // The jitter is small against what this is compared with.
        self.interval.saturating_add(self.pong_timeout)
    }

    /// The interval with its jitter applied; `dice` is uniform in 0 .. 1.
    fn jittered(&self, dice: f64) -> Duration {
        let share = if self.jitter.is_nan() {
            0.0
        } else {
            self.jitter.clamp(0.0, 0.5)
        };
        let factor = 1.0 + share * (2.0 * dice.clamp(0.0, 1.0) - 1.0);
        let jittered = Duration::try_from_secs_f64(self.interval.as_secs_f64() * factor);
        jittered.unwrap_or(self.interval).max(MIN_INTERVAL)
    }
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self::new()
    }
}

/// Eight bytes that a ping of ours carries and its pong brings back.
pub(super) type Cookie = [u8; 8];

/// What the timer should do about a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing is due.
    Wait,
    /// A ping is due; call [`Pinger::sent`] when it has gone out.
    Ping,
    /// Nothing came since the last ping, and its time is up.
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Pings once the leg has been quiet for this long.
    Listening { interval: Duration },
    /// A ping is due and waits for a frame boundary.
    Due,
    /// A ping went out.
    Awaiting { since: Instant },
}

/// Keep-alive of one leg.
#[derive(Debug)]
pub(super) struct Pinger {
    /// Shared by all tunnels: quiet ones are counted in bytes.
    settings: Arc<KeepAlive>,
    state: State,
    /// Upper half of every cookie: tells our pongs from the endpoint's own.
    secret: u32,
    /// Lower half of the newest cookie sent; 0 before the first.
    sent: u32,
    /// Lower half of the newest cookie that came back.
    answered: u32,
    sent_at: Option<Instant>,
    rtt: Option<Rtt>,
    /// Whether nobody was told of the newest round trip yet.
    rtt_is_news: bool,
}

impl Pinger {
    pub(super) fn new(settings: impl Into<Arc<KeepAlive>>, secret: u32, dice: f64) -> Self {
        let settings = settings.into();
        let interval = settings.jittered(dice);
        Self {
            settings,
            state: State::Listening { interval },
            secret,
            sent: 0,
            answered: 0,
            sent_at: None,
            rtt: None,
            rtt_is_news: false,
        }
    }

    /// When [`tick`](Self::tick) should be called next, if nothing happens before.
    pub(super) fn deadline(&self, last_received: Instant) -> Option<Instant> {
        match self.state {
            State::Listening { interval } => Some(later(last_received, interval)),
            State::Due => None,
            State::Awaiting { since } => Some(later(since, self.settings.pong_timeout)),
        }
    }

    /// Looks at what is due.
    pub(super) fn tick(&mut self, now: Instant, last_received: Instant, dice: f64) -> Action {
        if self
            .deadline(last_received)
            .is_none_or(|deadline| deadline > now)
        {
            return Action::Wait;
        }
        match self.state {
            // Listening => Due: quiet for the whole interval.
            State::Listening { .. } => {
                self.state = State::Due;
                Action::Ping
            }
            State::Due => Action::Wait,
            // Awaiting => Listening: something came, so the leg lives, pong or not.
            State::Awaiting { since } if last_received > since => {
                self.listen(dice);
                Action::Wait
            }
            State::Awaiting { .. } => Action::Dead,
        }
    }

    /// Whether a ping waits for its frame boundary.
    pub(super) fn is_due(&self) -> bool {
        self.state == State::Due
    }

    /// A ping goes out now: the payload to put in it.
    pub(super) fn sent(&mut self, now: Instant) -> Cookie {
        self.state = State::Awaiting { since: now };
        self.sent = self.sent.wrapping_add(1);
        self.sent_at = Some(now);
        self.cookie(self.sent)
    }

    /// Whether a pong of ours is still on its way.
    pub(super) fn expects_pong(&self) -> bool {
        self.sent != self.answered
    }

    /// Takes a pong's payload; true if it answers a ping of ours that was not answered before.
    ///
    /// An endpoint may answer only the newest of several pings (RFC 6455 §5.5.3), so a pong
    /// settles every earlier ping too.
    pub(super) fn take_pong(&mut self, payload: &[u8], now: Instant, dice: f64) -> bool {
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
            self.rtt_is_news = true;
            self.listen(dice);
        }
        true
    }

    /// Round trips of our pings so far.
    pub(super) fn rtt(&self) -> Option<Rtt> {
        self.rtt
    }

    /// The newest round trip, if it was measured since the last call.
    pub(super) fn take_news(&mut self) -> Option<Rtt> {
        self.rtt.filter(|_| std::mem::take(&mut self.rtt_is_news))
    }

    fn listen(&mut self, dice: f64) {
        let interval = self.settings.jittered(dice);
        self.state = State::Listening { interval };
    }

    fn cookie(&self, number: u32) -> Cookie {
        let mut cookie = [0; 8];
        cookie[..4].copy_from_slice(&self.secret.to_be_bytes());
        cookie[4..].copy_from_slice(&number.to_be_bytes());
        cookie
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(20);
    const TIMEOUT: Duration = Duration::from_secs(10);
    const STEADY: f64 = 0.5;

    fn pinger() -> (Pinger, Instant) {
        (
            Pinger::new(KeepAlive::new(), 0xABCD_0123, STEADY),
            Instant::now(),
        )
    }

    #[test]
    fn pings_after_a_quiet_interval_and_not_before() {
        let (mut pinger, start) = pinger();
        assert_eq!(pinger.deadline(start), Some(start + INTERVAL));
        let early = start + INTERVAL - Duration::from_millis(1);
        assert_eq!(pinger.tick(early, start, STEADY), Action::Wait);
        assert_eq!(pinger.tick(start + INTERVAL, start, STEADY), Action::Ping);
        assert!(pinger.is_due());
        assert_eq!(
            pinger.deadline(start),
            None,
            "waits for a boundary, not for time"
        );
    }

    #[test]
    fn traffic_postpones_the_ping() {
        let (mut pinger, start) = pinger();
        let heard = start + Duration::from_secs(15);
        assert_eq!(pinger.tick(start + INTERVAL, heard, STEADY), Action::Wait);
        assert_eq!(pinger.deadline(heard), Some(heard + INTERVAL));
    }

    #[test]
    fn silence_after_a_ping_is_death() {
        let (mut pinger, start) = pinger();
        let at = start + INTERVAL;
        assert_eq!(pinger.tick(at, start, STEADY), Action::Ping);
        pinger.sent(at);
        assert_eq!(
            pinger.tick(at + TIMEOUT - Duration::from_millis(1), start, STEADY),
            Action::Wait
        );
        assert_eq!(pinger.tick(at + TIMEOUT, start, STEADY), Action::Dead);
    }

    #[test]
    fn data_without_a_pong_is_life() {
        let (mut pinger, start) = pinger();
        let at = start + INTERVAL;
        pinger.tick(at, start, STEADY);
        let cookie = pinger.sent(at);
        let heard = at + Duration::from_secs(3);
        assert_eq!(pinger.tick(at + TIMEOUT, heard, STEADY), Action::Wait);
        assert_eq!(pinger.deadline(heard), Some(heard + INTERVAL));
        assert!(
            pinger.take_pong(&cookie, at + TIMEOUT, STEADY),
            "the late pong is still ours"
        );
    }

    #[test]
    fn only_outstanding_cookies_are_ours() {
        let (mut pinger, start) = pinger();
        let first = pinger.sent(start);
        assert!(!pinger.take_pong(b"endpoint", start, STEADY));
        assert!(!pinger.take_pong(&first[..7], start, STEADY));
        assert!(pinger.expects_pong());
        assert!(pinger.take_pong(&first, start + Duration::from_millis(7), STEADY));
        assert!(!pinger.expects_pong());
        assert!(
            !pinger.take_pong(&first, start, STEADY),
            "a second answer is the endpoint's own"
        );
        let rtt = pinger.rtt().unwrap();
        assert_eq!(rtt.last(), Duration::from_millis(7));
    }

    #[test]
    fn a_pong_settles_the_pings_before_it() {
        let (mut pinger, start) = pinger();
        let first = pinger.sent(start);
        let second = pinger.sent(start);
        assert!(pinger.take_pong(&second, start, STEADY));
        assert!(!pinger.take_pong(&first, start, STEADY));
    }

    #[test]
    fn an_older_pong_is_swallowed_but_measures_nothing() {
        let (mut pinger, start) = pinger();
        let first = pinger.sent(start);
        pinger.sent(start);
        assert!(pinger.take_pong(&first, start, STEADY));
        assert!(pinger.rtt().is_none());
        assert!(pinger.expects_pong());
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let settings = KeepAlive::new();
        assert_eq!(settings.jittered(0.0), Duration::from_secs(18));
        assert_eq!(settings.jittered(1.0), Duration::from_secs(22));
        assert_eq!(settings.jitter(f64::NAN).jittered(0.0), INTERVAL);
        assert_eq!(
            settings.interval(Duration::ZERO).jittered(0.5),
            MIN_INTERVAL
        );
    }
}
