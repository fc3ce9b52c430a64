//! The plan of a case: settings and steps, made from a seed.

use std::{panic::resume_unwind, time::Duration};

use tungstenite::protocol::frame::Frame;
use wsplice::{
    Framing, KeepAlive, Side, TunnelConfig,
    frame::{CloseCode, CloseFrame},
};

use crate::{
    clock_kit::{from_side, ms, secs},
    support::{
        frames::{binary, close, fragments, masked, odd, ping, pong, unmasked},
        rng::Xorshift,
    },
};

/// The most tunnels in one case.
const MAX_TUNNELS: usize = 3;

#[derive(Clone, Debug)]
pub(super) struct Plan {
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
    pub(super) buffered: usize,
    pub(super) wording: Wording,
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
    /// Takes so many more bytes.
    Room(At, usize),
    Close(usize),
    /// Closes after this time.
    CloseAt(usize, Duration),
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
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Xorshift::new(seed);
        // The first numbers of neighboring seeds are alike.
        let _ = dice.bytes(64);
        let settings = Settings::new(&mut dice);
        let mut steps = vec![Step::Open];
        let len = 4 + dice.below(36);
        // Some cases go on for long before the first sign of an end.
        let ends = [1, 4, 12][dice.below(3)];
        for _ in 0..len {
            steps.push(step(&mut dice, ends));
            if matches!(steps.last(), Some(Step::Drain { .. })) && dice.below(2) == 0 {
                steps.extend([Step::Wait(ms(1 + dice.next() % 500)), Step::Resume]);
            }
            if dice.below(2) == 0 {
                steps.push(Step::Wait(pause(&mut dice)));
            }
        }
        Self {
            seed,
            settings,
            steps,
        }
    }
}

impl Settings {
    fn new(dice: &mut Xorshift) -> Self {
        let mut secs_of = |choices: [u64; 3]| secs(choices[dice.below(3)]);
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
            keep_alive: (dice.below(2) == 0).then_some(keep_alive),
            idle: (dice.below(4) == 0).then_some(idle),
            lifetime: (dice.below(4) == 0).then_some(lifetime),
            framing: framing[[0, 0, 0, 0, 1, 1, 2][dice.below(7)]],
            buffered: [1024, 4096, 64 * 1024][dice.below(3)],
            wording: [Wording::None, Wording::Changed, Wording::Panics][dice.below(3)],
        }
    }

    pub(super) fn config(&self) -> TunnelConfig {
        let keep_alive = self.keep_alive.map(|(interval, pong)| {
            let keep_alive = KeepAlive::default();
            keep_alive.interval(interval).pong_timeout(pong)
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
            .max_buffered(self.buffered);
        match self.wording {
            Wording::None => config,
            Wording::Changed => config
                .map_close_frame(|_, _, _| CloseFrame::new(CloseCode::new(WORDED), "the host's")),
            // As a panic does, and without its message.
            Wording::Panics => config.map_close_frame(|_, _, _| resume_unwind(Box::new(()))),
        }
    }

    /// The sum of the bounds: a tunnel is over so long after the first sign of its end and the last
    /// thing that its endpoints did.
    pub(super) fn bound(&self) -> Duration {
        // A stall before the sign can be read, and one of the close frame that follows.
        let writes = self.write * 2;
        let handshake = self.handshake.max(self.write);
        self.half_close + writes + handshake + self.close * 2 + secs(1)
    }
}

/// A step; of forty, so many are signs of an end.
fn step(dice: &mut Xorshift, ends: usize) -> Step {
    let at = At {
        tunnel: dice.below(MAX_TUNNELS),
        side: [Side::Client, Side::Upstream][dice.below(2)],
    };
    if dice.below(40) < ends {
        return end(dice, at);
    }
    match dice.below(20) {
        0..=8 => {
            let bytes = message(dice, at.side);
            let kept = [0, 0, 1 + dice.below(bytes.len())][dice.below(3)];
            Step::Send(at, bytes, kept)
        }
        9..=12 => Step::Answer(at),
        13..=14 => Step::Flush(at),
        15 => Step::Room(at, 0),
        16 => Step::Room(at, dice.below(3000)),
        17..=18 => Step::Room(at, usize::MAX),
        _ => Step::Open,
    }
}

fn end(dice: &mut Xorshift, at: At) -> Step {
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
        15 => Step::CloseAt(at.tunnel, pause(dice)),
        16 => Step::Abort(at.tunnel),
        17 => Step::Drop(at.tunnel),
        18..=19 => Step::Drain {
            spread: pause(dice),
            deadline: secs([1, 8, 60][dice.below(3)]),
        },
        _ => Step::Resume,
    }
}

fn pause(dice: &mut Xorshift) -> Duration {
    match dice.below(4) {
        0 => ms(1),
        1 => ms(1 + dice.next() % 1000),
        2 => ms(1 + dice.next() % 6000),
        _ => ms(1 + dice.next() % 40_000),
    }
}

/// Frames that are no close frame, as this side sends them.
fn message(dice: &mut Xorshift, side: Side) -> Vec<u8> {
    let len = [dice.below(20), dice.below(200), dice.below(9000)][dice.below(3)];
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

fn closing(dice: &mut Xorshift) -> Frame {
    match dice.below(4) {
        0 => Frame::close(None),
        1 => odd(0x88, &[7]),
        _ => close(4000 + (dice.next() % 100) as u16, "enough"),
    }
}

/// A header that is none, and any bytes behind it.
fn garbage(dice: &mut Xorshift) -> Vec<u8> {
    let header = [[0x82, 0xFF, 0xFF], [0x89, 0x7E, 1]][dice.below(2)];
    let len = 8 + dice.below(300);
    [&header[..], &dice.bytes(len)].concat()
}
