//! The plan of a case: settings and steps.

use std::time::Duration;

use wsplice::{
    KeepAlive, TunnelConfig,
    frame::{CloseCode, CloseFrame, Message},
    tunnel::reattach::{Reattach, ReattachDecision, ReattachOn, ReattachRequest, Restoration},
};

use crate::support::{
    clock::{ms, secs},
    dice::{Dice, Input, reduced},
    rng::Xorshift,
};

/// The most clients of one case.
const MAX_CLIENTS: usize = 3;

/// The most steps of a case, but for those that come in pairs.
const MAX_STEPS: usize = 50;

/// Messages of the host.
pub(super) const RESTORE: &str = "restore";
pub(super) const NOTICE: &str = "notice";

/// Code of the host's close frames.
pub(super) const HOST_CLOSE: u16 = 3998;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The seed of the proxy's own random numbers.
    pub(super) seed: u64,
    pub(super) settings: Settings,
    pub(super) steps: Vec<Step>,
}

/// The settings that all tunnels of a case share.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) write: Duration,
    close: Duration,
    handshake: Duration,
    half_close: Duration,
    /// Interval and pong timeout.
    pub(super) keep_alive: Option<(Duration, Duration)>,
    buffered: usize,
    pub(super) within: Duration,
    spread: Duration,
    limit: usize,
    held: usize,
    pub(super) replay: usize,
    pub(super) swallow: usize,
    pub(super) host: Host,
    takes_going_away: bool,
    pub(super) answers: Answers,
}

/// When the parties answer pings and close frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// Within half a second, and also when a step says so.
    Always,
    InSteps,
}

/// The host's function for reattachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    None,
    /// Sends a message to the upstream and one to the client.
    Restores,
    Closes,
}

/// One connection of one client: its own, or that of its latest upstream, or of the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) client: usize,
    pub(super) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Upstream,
    UpstreamBefore,
}

/// Something that a party sends; each text and each ping is unique.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece {
    /// A text of this length at least, in so many fragments, with a ping between the first two.
    Text(usize, usize),
    Ping,
    /// A pong that no ping has asked for.
    Pong,
}

/// How a connection is lost.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loss {
    Finish,
    Reset,
    /// A close frame with this code, and what comes of it.
    Close(u16),
    CloseAndFinish(u16),
    /// The beginning of a frame or of a message, and the end.
    Truncate(usize),
}

/// What upstreams do with handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behavior {
    Accept,
    /// Responds with this status.
    Refuse(u16),
    /// Cannot be connected to.
    Fail,
    HangUp,
    /// Responds when a later step says so.
    Late,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Open,
    /// Sends a piece behind the bytes that were kept, and keeps the last so many.
    Send(At, Piece, usize),
    Flush(At),
    /// Answers the pings that came, and a close frame.
    Answer(At),
    Lose(At, Loss),
    /// Takes so many more bytes, and lets flushes pass.
    Room(At, usize),
    HoldFlushes(At),
    Behave(Behavior),
    /// Responds to the handshakes that wait.
    Respond(Behavior),
    DrainUpstream(usize, Option<Duration>),
    ResumeUpstream(usize),
    /// Moves all tunnels of the proxy.
    Move(Duration),
    /// Closes the tunnel for an operator.
    Close(usize),
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
        let mut dice = Xorshift::new(seed ^ 0xA7_7AC4);
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
        for _ in 0..len {
            if !dice.has_more() {
                break;
            }
            steps.push(step(dice));
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
        matches!(self, Self::Wait(_) | Self::Open)
    }
}

impl Settings {
    /// The most messages of the proxy's own with which an upstream begins that is not the first one.
    pub(super) fn opening(&self) -> usize {
        self.replay + usize::from(self.host == Host::Restores)
    }

    fn new(dice: &mut impl Dice) -> Self {
        let mut secs_of = |choices: [u64; 3]| secs(dice.pick(choices));
        let (half_close, write) = (secs_of([1, 10, 20]), secs_of([3, 20, 60]));
        let (close, handshake) = (secs_of([1, 5, 9]), secs_of([2, 15, 30]));
        let keep_alive = (secs_of([1, 4, 20]), secs_of([2, 3, 10]));
        let within = secs_of([1, 10, 30]);
        Self {
            write,
            close,
            handshake,
            half_close,
            keep_alive: dice.is_one_of(2).then_some(keep_alive),
            buffered: dice.pick([1024, 4096, 64 * 1024]),
            within,
            spread: ms(dice.pick([0, 500])),
            limit: dice.pick([2, 100]),
            held: dice.pick([64, 4096, 64 * 1024]),
            replay: dice.pick([0, 0, 1, 3]),
            swallow: dice.pick([0, 0, 1, 2]),
            host: match dice.below(12) {
                0..=6 => Host::None,
                7..=10 => Host::Restores,
                _ => Host::Closes,
            },
            answers: dice.pick([Answers::Always, Answers::InSteps]),
            takes_going_away: dice.is_one_of(2),
        }
    }

    pub(super) fn config(&self) -> TunnelConfig {
        let keep_alive = self.keep_alive.map(|(interval, pong)| {
            let keep_alive = KeepAlive::default();
            keep_alive.interval(interval).pong_timeout(pong)
        });
        TunnelConfig::new()
            .half_close_timeout(self.half_close)
            .write_timeout(self.write)
            .close_timeout(self.close)
            .close_handshake_timeout(self.handshake)
            .keep_alive(keep_alive)
            .max_buffered(self.buffered)
    }

    pub(super) fn reattach(&self) -> Reattach {
        let mut on = vec![
            ReattachOn::Loss,
            ReattachOn::Closed(CloseCode::SERVICE_RESTART),
        ];
        if self.takes_going_away {
            on.push(ReattachOn::Closed(CloseCode::GOING_AWAY));
        }
        let reattach = Reattach::new()
            .on(on)
            .within(self.within)
            .spread(self.spread)
            .limit(self.limit)
            .max_held(self.held)
            .replay(self.replay)
            .max_replayed(1 << 20)
            .swallow(self.swallow)
            .max_swallowed(1 << 20);
        let host = self.host;
        if host == Host::None {
            return reattach;
        }
        reattach.on_reattach(move |_: ReattachRequest| async move { decision(host) })
    }

    /// The sum of the bounds: a tunnel is over so long after the first sign of its end and the last
    /// thing that was done to it.
    pub(super) fn bound(&self) -> Duration {
        let handshake = self.handshake.max(self.write);
        let move_bounds = secs(10) + self.within;
        self.half_close + self.write * 2 + handshake + self.close * 2 + move_bounds + secs(1)
    }
}

fn decision(host: Host) -> ReattachDecision {
    if host == Host::Closes {
        return CloseFrame::new(CloseCode::new(HOST_CLOSE), "the host's").into();
    }
    let restoration = Restoration::new().to_upstream(Message::text(RESTORE));
    restoration.to_client(Message::text(NOTICE)).into()
}

fn step(dice: &mut impl Dice) -> Step {
    let client = dice.below(MAX_CLIENTS);
    let ends = [
        End::Client,
        End::Client,
        End::Upstream,
        End::Upstream,
        End::UpstreamBefore,
    ];
    let at = At {
        client,
        end: dice.pick(ends),
    };
    let upstream = At {
        client,
        end: dice.pick([End::Upstream, End::Upstream, End::UpstreamBefore]),
    };
    match dice.below(40) {
        0..=12 => Step::Send(at, piece(dice), kept(dice)),
        13..=16 => Step::Answer(at),
        17..=18 => Step::Flush(at),
        19 => Step::Room(at, dice.pick([0, 40, 3000])),
        20..=21 => Step::Room(at, usize::MAX),
        22 => Step::HoldFlushes(at),
        23..=26 => Step::Lose(upstream, loss(dice)),
        27 => Step::Lose(at, loss(dice)),
        28..=29 => Step::Behave(Behavior::Accept),
        30 => Step::Behave(behavior(dice)),
        31..=32 => Step::Respond(behavior(dice)),
        33 => Step::DrainUpstream(dice.below(2), dice.is_one_of(2).then(|| pause(dice))),
        34 => Step::ResumeUpstream(dice.below(2)),
        35..=36 => Step::Move(dice.pick([Duration::ZERO, secs(2), secs(20)])),
        37 => Step::Open,
        _ => rare(dice, client),
    }
}

fn rare(dice: &mut impl Dice, client: usize) -> Step {
    match dice.below(8) {
        0 => Step::Drain {
            spread: pause(dice),
            deadline: secs(dice.pick([1, 8, 60])),
        },
        1 => Step::Close(client),
        _ => Step::Resume,
    }
}

fn behavior(dice: &mut impl Dice) -> Behavior {
    dice.pick([
        Behavior::Accept,
        Behavior::Late,
        Behavior::Refuse(403),
        Behavior::Refuse(503),
        Behavior::Fail,
        Behavior::HangUp,
    ])
}

fn loss(dice: &mut impl Dice) -> Loss {
    match dice.below(8) {
        0..=1 => Loss::Finish,
        2..=3 => Loss::Reset,
        4 => Loss::Close(dice.pick([1012, 1001, 1000])),
        5..=6 => Loss::CloseAndFinish(dice.pick([1012, 1012, 1001])),
        _ => Loss::Truncate(1 + dice.below(20)),
    }
}

fn piece(dice: &mut impl Dice) -> Piece {
    match dice.below(6) {
        0..=3 => Piece::Text(dice.pick([1, 100, 3000]), dice.pick([1, 1, 2, 4])),
        4 => Piece::Ping,
        _ => Piece::Pong,
    }
}

fn kept(dice: &mut impl Dice) -> usize {
    match dice.below(3) {
        0 => 1 + dice.below(40),
        _ => 0,
    }
}

fn pause(dice: &mut impl Dice) -> Duration {
    match dice.below(4) {
        0 => ms(1),
        1 => ms(dice.up_to(1000)),
        2 => ms(dice.up_to(6000)),
        _ => ms(dice.up_to(30_000)),
    }
}
