//! When to ping a leg, and when to call it dead. Pure: `(event, now) -> action`.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    instant::{FAR, saturating_add},
    tunnel::report::Rtt,
};

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
    ///
    /// Within it, both legs of a tunnel are pinged at once, and quiet tunnels a few at a time:
    /// that takes fewer wake-ups.
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
        let factor = 1.0 + self.share() * (2.0 * dice.clamp(0.0, 1.0) - 1.0);
        let jittered = Duration::try_from_secs_f64(self.interval.as_secs_f64() * factor);
        jittered.unwrap_or(self.interval).max(MIN_INTERVAL)
    }

    fn share(&self) -> f64 {
        if self.jitter.is_nan() {
            0.0
        } else {
            self.jitter.clamp(0.0, 0.5)
        }
    }
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self::new()
    }
}

/// The settings as all tunnels of a configuration share them, with the moment from which they
/// count time together.
#[derive(Debug)]
pub(super) struct Rhythm {
    settings: KeepAlive,
    epoch: Instant,
    /// The shortest interval that the jitter allows.
    shortest: Duration,
    /// Pings of one slot go out at once. Zero if there is no jitter to hide that in.
    slot: Duration,
}

/// How many slots the jitter has: with the default settings one is 125 ms long.
const SLOTS: f64 = 32.0;

impl Rhythm {
    pub(super) fn new(settings: KeepAlive, epoch: Instant) -> Self {
        let width = settings.interval.min(FAR).mul_f64(2.0 * settings.share());
        Self {
            settings,
            epoch,
            shortest: settings.jittered(0.0),
            slot: width.div_f64(SLOTS),
        }
    }

    pub(super) const fn settings(&self) -> &KeepAlive {
        &self.settings
    }

    /// An interval of about this jitter that, begun now, ends with a slot. It leaves the other leg,
    /// whose pong may have come a little later, the time to be past its shortest one by then.
    fn interval(&self, begin: Instant, dice: f64) -> Duration {
        let soonest = self.shortest.saturating_add(self.slot * 2);
        let interval = self.settings.jittered(dice).max(soonest);
        let end = saturating_add(begin, interval).saturating_duration_since(self.epoch);
        let behind = end.as_nanos().checked_rem(self.slot.as_nanos());
        let behind = behind.and_then(|behind| u64::try_from(behind).ok());
        let behind = Duration::from_nanos(behind.unwrap_or(0));
        interval.saturating_sub(behind)
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
    rhythm: Arc<Rhythm>,
    state: State,
    /// Upper half of every cookie: tells our pongs from the endpoint's own.
    secret: u32,
    /// Lower half of the newest cookie sent; 0 before the first.
    sent: u32,
    /// Lower half of the newest cookie that came back.
    answered: u32,
    sent_at: Option<Instant>,
    /// Jitter of the interval after the newest ping: thrown with the ping, so that legs which are
    /// pinged together are due together again.
    dice: f32,
    rtt: Option<Rtt>,
    /// Whether nobody was told of the newest round trip yet.
    rtt_is_news: bool,
}

impl Pinger {
    pub(super) fn new(rhythm: Arc<Rhythm>, secret: u32, dice: f32) -> Self {
        let interval = rhythm.settings.jittered(dice.into());
        Self {
            rhythm,
            state: State::Listening { interval },
            secret,
            sent: 0,
            answered: 0,
            sent_at: None,
            dice,
            rtt: None,
            rtt_is_news: false,
        }
    }

    /// When [`tick`](Self::tick) should be called next, if nothing happens before.
    pub(super) fn deadline(&self, last_received: Instant) -> Option<Instant> {
        match self.state {
            State::Listening { interval } => Some(saturating_add(last_received, interval)),
            State::Due => None,
            State::Awaiting { since } => {
                Some(saturating_add(since, self.rhythm.settings.pong_timeout))
            }
        }
    }

    /// Looks at what is due.
    pub(super) fn tick(&mut self, now: Instant, last_received: Instant, dice: f32) -> Action {
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
                self.dice = dice;
                Action::Ping
            }
            State::Due => Action::Wait,
            // Awaiting => Listening: something came, so the leg lives, pong or not.
            State::Awaiting { since } if last_received > since => {
                self.listen(last_received);
                Action::Wait
            }
            State::Awaiting { .. } => Action::Dead,
        }
    }

    /// The other leg is pinged now: so is this one, if its jitter allows that already.
    pub(super) fn join(&mut self, now: Instant, last_received: Instant, dice: f32) {
        let is_listening = matches!(self.state, State::Listening { .. });
        if is_listening && saturating_add(last_received, self.rhythm.shortest) <= now {
            // Listening => Due: quiet for the shortest interval.
            self.state = State::Due;
            self.dice = dice;
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
    pub(super) fn take_pong(&mut self, payload: &[u8], now: Instant) -> bool {
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
            self.listen(now);
        }
        true
    }

    /// Round trips of our pings so far.
    pub(super) fn rtt(&self) -> Option<Rtt> {
        self.rtt
    }

    /// Whether a round trip was measured since the last [`take_news`](Self::take_news).
    pub(super) const fn has_news(&self) -> bool {
        self.rtt_is_news
    }

    /// The newest round trip, if it was measured since the last call.
    pub(super) fn take_news(&mut self) -> Option<Rtt> {
        self.rtt.filter(|_| std::mem::take(&mut self.rtt_is_news))
    }

    fn listen(&mut self, last_received: Instant) {
        let interval = self.rhythm.interval(last_received, self.dice.into());
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
    const STEADY: f32 = 0.5;

    fn pinger() -> (Pinger, Instant) {
        let start = Instant::now();
        let rhythm = Rhythm::new(KeepAlive::new().jitter(0.0), start);
        (Pinger::new(rhythm.into(), 0xABCD_0123, STEADY), start)
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
            pinger.take_pong(&cookie, at + TIMEOUT),
            "the late pong is still ours"
        );
    }

    #[test]
    fn only_outstanding_cookies_are_ours() {
        let (mut pinger, start) = pinger();
        let first = pinger.sent(start);
        assert!(!pinger.take_pong(b"endpoint", start));
        assert!(!pinger.take_pong(&first[..7], start));
        assert!(pinger.expects_pong());
        assert!(pinger.take_pong(&first, start + Duration::from_millis(7)));
        assert!(!pinger.expects_pong());
        assert!(
            !pinger.take_pong(&first, start),
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
        assert!(pinger.take_pong(&second, start));
        assert!(!pinger.take_pong(&first, start));
    }

    #[test]
    fn an_older_pong_is_swallowed_but_measures_nothing() {
        let (mut pinger, start) = pinger();
        let first = pinger.sent(start);
        pinger.sent(start);
        assert!(pinger.take_pong(&first, start));
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

    #[test]
    fn a_leg_joins_the_others_ping_within_its_jitter_only() {
        let start = Instant::now();
        let rhythm = Arc::new(Rhythm::new(KeepAlive::new(), start));
        let mut pinger = Pinger::new(rhythm, 0xABCD_0123, 1.0);
        let early = start + Duration::from_secs(18);
        pinger.join(early - Duration::from_millis(1), start, STEADY);
        assert!(!pinger.is_due(), "something came too lately");
        pinger.join(early, start, STEADY);
        assert!(pinger.is_due());
        pinger.sent(early);
        pinger.join(early + INTERVAL, start, STEADY);
        assert!(!pinger.is_due(), "one ping at a time");
    }

    #[test]
    fn legs_pinged_together_are_due_together_again() {
        let start = Instant::now();
        let rhythm = Arc::new(Rhythm::new(KeepAlive::new(), start));
        let mut legs = [0.1, 0.9].map(|dice| Pinger::new(Arc::clone(&rhythm), 7, dice));
        let at = start + Duration::from_secs(22);
        let due = [1, 9].map(|ms| at + Duration::from_millis(ms));
        let deadlines: Vec<_> = std::iter::zip(&mut legs, due)
            .map(|(leg, answered)| {
                assert_eq!(leg.tick(at, start, 0.3), Action::Ping);
                let cookie = leg.sent(at);
                assert!(leg.take_pong(&cookie, answered));
                leg.deadline(answered)
            })
            .collect();
        assert_eq!(deadlines[0], deadlines[1]);
    }

    #[test]
    fn intervals_end_with_a_slot_and_stay_within_their_jitter() {
        let epoch = Instant::now();
        let rhythm = Rhythm::new(KeepAlive::new(), epoch);
        assert_eq!(rhythm.slot, Duration::from_millis(125));
        for step in 0..1000_u32 {
            let begin = epoch + Duration::from_micros(1_370) * step;
            let interval = rhythm.interval(begin, f64::from(step % 100) / 99.0);
            assert!(interval >= Duration::from_secs(18), "{interval:?}");
            assert!(interval <= Duration::from_secs(22), "{interval:?}");
            let end = begin + interval - epoch;
            assert_eq!(end.as_nanos() % rhythm.slot.as_nanos(), 0, "{end:?}");
        }
    }

    #[test]
    fn without_jitter_an_interval_is_exact() {
        let epoch = Instant::now();
        let begin = epoch + Duration::from_millis(7);
        let rhythm = Rhythm::new(KeepAlive::new().jitter(0.0), epoch);
        assert_eq!(rhythm.interval(begin, 0.9), INTERVAL);
        let rhythm = Rhythm::new(KeepAlive::new().interval(Duration::MAX), epoch);
        assert!(rhythm.interval(begin, 0.9) > INTERVAL);
    }
}
