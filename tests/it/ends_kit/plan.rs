//! The plan of a case: settings and steps.

use std::{panic::resume_unwind, time::Duration};

use tungstenite::protocol::frame::Frame;
use wsplice::{
    KeepAlive, Limits, TunnelConfig,
    frame::{CloseCode, CloseFrame},
    tunnel::{Framing, Side},
};

use crate::support::{
    clock::{ms, secs},
    dice::{Dice, Input, reduced},
    frames::{binary, close, fragments, masked, odd, ping, pong, unmasked},
    rng::Xorshift,
    sides::from_side,
};

use super::wire::frames;

/// The most tunnels in one case.
const MAX_TUNNELS: usize = 3;

/// The most steps of a case, but for those that come in pairs.
const MAX_STEPS: usize = 40;

/// The longest pause of a limit.
const MAX_PAUSE: Duration = secs(30);

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The seed of the tunnels' own random numbers.
    pub(super) seed: u64,
    pub(super) settings: Settings,
    pub(super) steps: Vec<Step>,
}

/// The settings that all tunnels of a case share.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) framing: Framing,
    pub(super) half_close: Duration,
    pub(super) write: Duration,
    pub(super) close: Duration,
    pub(super) handshake: Duration,
    /// Interval and pong timeout.
    pub(super) keep_alive: Option<(Duration, Duration)>,
    pub(super) idle: Option<Duration>,
    pub(super) lifetime: Option<Duration>,
    /// How long a ping waits for the end of a message.
    pub(super) patience: Option<Duration>,
    pub(super) buffered: usize,
    pub(super) rate: Option<Rate>,
    pub(super) frame_size: Option<u64>,
    pub(super) wording: Wording,
}

/// A limit on the rate of both sides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    kind: RateKind,
    /// Whether a side that is over it is closed, and does not have to wait.
    closes: bool,
}

/// A rate, and the burst that it allows.
#[derive(Clone, Copy, Debug)]
enum RateKind {
    Messages(u32),
    Bytes(u64),
}

/// The behavior of the host's function that changes close frames.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wording {
    None,
    Changed,
    Panics,
}

/// The code of the close frames that the host words itself.
pub(super) const WORDED: u16 = 3999;

/// One leg of one tunnel.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) tunnel: usize,
    pub(super) side: Side,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Another tunnel.
    Open,
    /// Sends bytes behind those that were kept, and keeps the last so many.
    Send(At, Vec<u8>, usize),
    /// Answers the pings of the proxy, and a close frame.
    Answer(At),
    /// Sends the bytes that were kept.
    Flush(At),
    Finish(At),
    /// Ends its direction behind these bytes, which are no whole frame.
    Truncate(At, Vec<u8>),
    Reset(At),
    /// Takes so many more bytes, and lets flushes pass.
    Room(At, usize),
    /// Takes bytes, and completes no flush.
    HoldFlushes(At),
    Close(usize),
    /// Closes after this time.
    CloseAt(usize, Duration),
    /// Calls off the close of a certain time.
    CancelClose(usize),
    Abort(usize),
    /// Drops the future.
    Drop(usize),
    Drain {
        spread: Duration,
        deadline: Duration,
    },
    Resume,
    Wait(Duration),
}

impl Plan {
    /// The case of a seed.
    #[allow(dead_code, reason = "a fuzzer has bytes")]
    pub(crate) fn from_seed(seed: u64) -> Self {
        let mut dice = Xorshift::new(seed);
        // The first numbers of neighboring seeds are alike.
        let _ = dice.bytes(64);
        let len = 4 + dice.below(MAX_STEPS - 4);
        Self::new(&mut dice, len, seed)
    }

    /// The case that these bytes choose.
    #[allow(dead_code, reason = "for the fuzz target")]
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self::new(&mut Input(bytes), MAX_STEPS, 0)
    }

    /// The case with as few of its steps as make it fail.
    #[allow(dead_code, reason = "a fuzzer reduces its own cases")]
    pub(crate) fn reduced(mut self, fails: impl Fn(&Self) -> bool) -> Self {
        let steps = std::mem::take(&mut self.steps);
        let with = |steps: &[Step]| Self {
            steps: steps.to_vec(),
            ..self.clone()
        };
        let steps = reduced(steps, |steps| fails(&with(steps)));
        Self { steps, ..self }
    }

    fn new(dice: &mut impl Dice, len: usize, seed: u64) -> Self {
        let settings = Settings::new(dice);
        let mut steps = vec![Step::Open];
        // Some cases go on for long before the first sign of an end.
        let ends = dice.pick([1, 4, 12]);
        for _ in 0..len {
            if !dice.has_more() {
                break;
            }
            steps.push(step(dice, ends));
            if matches!(steps.last(), Some(Step::Drain { .. })) && dice.is_one_of(2) {
                steps.extend([Step::Wait(ms(dice.up_to(500))), Step::Resume]);
            }
            if dice.is_one_of(2) {
                steps.push(Step::Wait(pause(dice)));
            }
        }
        Self {
            seed,
            settings,
            steps,
        }
    }
}

impl Step {
    /// Whether tunnels run before the next step.
    pub(super) const fn takes_time(&self) -> bool {
        matches!(self, Self::Wait(_))
    }
}

impl Settings {
    fn new(dice: &mut impl Dice) -> Self {
        let mut secs_of = |choices: [u64; 3]| secs(dice.pick(choices));
        let (half_close, write) = (secs_of([1, 10, 20]), secs_of([3, 20, 60]));
        let (close, handshake) = (secs_of([1, 5, 9]), secs_of([2, 15, 30]));
        let keep_alive = (secs_of([1, 4, 20]), secs_of([2, 3, 10]));
        let (idle, lifetime) = (secs_of([5, 30, 60]), secs_of([5, 30, 300]));
        let framing = [Framing::Observe, Framing::Enforce, Framing::Opaque];
        Self {
            half_close,
            write,
            close,
            handshake,
            keep_alive: dice.is_one_of(2).then_some(keep_alive),
            idle: dice.is_one_of(4).then_some(idle),
            lifetime: dice.is_one_of(4).then_some(lifetime),
            framing: framing[dice.pick([0, 0, 0, 0, 1, 1, 2])],
            patience: dice.is_one_of(4).then_some(secs(2)),
            buffered: dice.pick([1024, 4096, 64 * 1024]),
            rate: dice.is_one_of(4).then(|| Rate::new(dice)),
            frame_size: dice.is_one_of(8).then_some(300),
            wording: dice.pick([Wording::None, Wording::Changed, Wording::Panics]),
        }
    }

    pub(super) fn config(&self) -> TunnelConfig {
        let keep_alive = self.keep_alive.map(|(interval, pong)| {
            let keep_alive = KeepAlive::default();
            let keep_alive = keep_alive.interval(interval).pong_timeout(pong);
            match self.patience {
                Some(patience) => keep_alive.between_messages(patience),
                None => keep_alive,
            }
        });
        let config = TunnelConfig::new()
            .framing(self.framing)
            .half_close_timeout(self.half_close)
            .write_timeout(self.write)
            .close_timeout(self.close)
            .close_handshake_timeout(self.handshake)
            .keep_alive(keep_alive)
            .idle_timeout(self.idle)
            .max_lifetime(self.lifetime)
            .limits(self.limits())
            .max_buffered(self.buffered);
        match self.wording {
            Wording::None => config,
            Wording::Changed => config
                .map_close_frame(|_, _, _| CloseFrame::new(CloseCode::new(WORDED), "the host's")),
            // As a panic does, and without its message.
            Wording::Panics => config.map_close_frame(|_, _, _| resume_unwind(Box::new(()))),
        }
    }

    fn limits(&self) -> Limits {
        let limits = match self.frame_size {
            Some(bytes) => Limits::new().frame_size(bytes),
            None => Limits::new(),
        };
        let Some(rate) = self.rate else {
            return limits;
        };
        let limits = match rate.kind {
            RateKind::Messages(messages) => limits.messages_per_second(messages),
            RateKind::Bytes(bytes) => limits.bytes_per_second(bytes),
        };
        match rate.closes {
            true => limits.close_over_rate(),
            false => limits,
        }
    }

    /// Whether a side can be made to wait before its bytes are scanned.
    pub(super) fn has_pauses(&self) -> bool {
        self.rate.is_some_and(|rate| !rate.closes)
    }

    /// How long the limits may keep a side waiting that has sent these bytes.
    pub(super) fn pauses(&self, sent: &[u8]) -> Duration {
        let Some(rate) = self.rate.filter(|rate| !rate.closes) else {
            return Duration::ZERO;
        };
        let waits = match rate.kind {
            RateKind::Messages(messages) => frames(sent) / u64::from(messages),
            RateKind::Bytes(bytes) => sent.len() as u64 / bytes,
        };
        secs(waits) + MAX_PAUSE
    }

    /// The sum of the bounds: a tunnel is over so long after the first sign of its end and the last
    /// thing that its endpoints did, pauses of limits not counted.
    pub(super) fn bound(&self) -> Duration {
        // A stall before the sign can be read, and one of the close frame that follows.
        let writes = self.write * 2;
        let handshake = self.handshake.max(self.write);
        self.half_close + writes + handshake + self.close * 2 + secs(1)
    }
}

impl Rate {
    fn new(dice: &mut impl Dice) -> Self {
        let kind = match dice.below(4) {
            0 => RateKind::Messages(1),
            1 => RateKind::Messages(4),
            2 => RateKind::Bytes(1000),
            _ => RateKind::Bytes(20_000),
        };
        let closes = dice.is_one_of(3);
        Self { kind, closes }
    }
}

/// A step; of forty, so many are signs of an end.
fn step(dice: &mut impl Dice, ends: usize) -> Step {
    let at = At {
        tunnel: dice.below(MAX_TUNNELS),
        side: dice.pick([Side::Client, Side::Upstream]),
    };
    if dice.below(40) < ends {
        return end(dice, at);
    }
    match dice.below(21) {
        0..=8 => {
            let bytes = message(dice, at.side);
            let kept = match dice.below(3) {
                0 => 1 + dice.below(bytes.len()),
                _ => 0,
            };
            Step::Send(at, bytes, kept)
        }
        9..=12 => Step::Answer(at),
        13..=14 => Step::Flush(at),
        15 => Step::Room(at, 0),
        16 => Step::Room(at, dice.below(3000)),
        17..=18 => Step::Room(at, usize::MAX),
        19 => Step::HoldFlushes(at),
        _ => Step::Open,
    }
}

fn end(dice: &mut impl Dice, at: At) -> Step {
    match dice.below(22) {
        0..=5 => Step::Send(at, from_side(at.side, closing(dice)), 0),
        6 => {
            let closing = from_side(at.side, closing(dice));
            Step::Send(at, [closing, message(dice, at.side)].concat(), 0)
        }
        7..=8 => Step::Finish(at),
        9..=10 => {
            let mut bytes = message(dice, at.side);
            bytes.pop();
            Step::Truncate(at, bytes)
        }
        11..=12 => Step::Reset(at),
        13 => Step::Send(at, garbage(dice), 0),
        14 => Step::Close(at.tunnel),
        15 => match dice.below(3) {
            0 => Step::CancelClose(at.tunnel),
            _ => Step::CloseAt(at.tunnel, pause(dice)),
        },
        16 => Step::Abort(at.tunnel),
        17 => Step::Drop(at.tunnel),
        18..=19 => Step::Drain {
            spread: pause(dice),
            deadline: secs(dice.pick([1, 8, 60])),
        },
        _ => Step::Resume,
    }
}

fn pause(dice: &mut impl Dice) -> Duration {
    match dice.below(4) {
        0 => ms(1),
        1 => ms(dice.up_to(1000)),
        2 => ms(dice.up_to(6000)),
        _ => ms(dice.up_to(40_000)),
    }
}

/// Frames that are no close frame, as this side sends them.
fn message(dice: &mut impl Dice, side: Side) -> Vec<u8> {
    let most = dice.pick([20, 200, 9000]);
    let len = dice.below(most);
    let payload = dice.bytes(len);
    let short = &payload[..len.min(125)];
    let all = |frames: Vec<Frame>| frames.into_iter().flat_map(|frame| from_side(side, frame));
    match dice.below(9) {
        0..=2 => from_side(side, binary(&payload)),
        3 => all(fragments(&["one", "two", "", "four"])).collect(),
        4 => {
            let mut frames = fragments(&["one", "two"]);
            frames.insert(1, ping(short));
            all(frames).collect()
        }
        5 => from_side(side, ping(short)),
        6 => from_side(side, pong(short)),
        7 => from_side(side, odd(0x83, &payload)),
        // In the wrong masking direction (RFC 6455 §5.1).
        _ if side == Side::Client => unmasked(binary(&payload)),
        _ => masked(binary(&payload)),
    }
}

fn closing(dice: &mut impl Dice) -> Frame {
    match dice.below(4) {
        0 => Frame::close(None),
        1 => odd(0x88, &[7]),
        _ => close(4000 + dice.below(100) as u16, "enough"),
    }
}

/// A header that is none, and any bytes behind it.
fn garbage(dice: &mut impl Dice) -> Vec<u8> {
    let header = dice.pick([[0x82, 0xFF, 0xFF], [0x89, 0x7E, 1]]);
    let len = 8 + dice.below(300);
    [&header[..], &dice.bytes(len)].concat()
}
