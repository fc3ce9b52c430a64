//! Arbitrary frames, cut anywhere, through pipes of any size: with pings put in and pongs taken
//! out, each endpoint receives the bytes that the other one sent, in order and complete.

use std::time::Duration;

use proptest::{collection::vec, prelude::*, sample::select, test_runner::RngSeed};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    sync::mpsc,
};
use wsplice::{
    KeepAlive, TunnelConfig, TunnelReport,
    connect::Transport,
    frame::{ControlFrame, OpCode, Scanner},
    tunnel::{Side, Timer, Tunnel, TunnelEnd},
};

use super::support::{
    clock::on_a_paused_clock,
    frames::{odd, pong},
    rng,
    sides::from_side,
};

/// One frame to be sent.
#[derive(Clone, Copy, Debug)]
struct Planned {
    first: u8,
    len: usize,
    seed: u64,
}

/// Script of one endpoint: its frames, the cuts of its writes, and its pauses.
#[derive(Clone, Debug)]
struct Script {
    frames: Vec<Planned>,
    /// Lengths of the writes in bytes, each with a pause behind it in milliseconds.
    writes: Vec<(usize, u64)>,
    /// Lengths of the reads in bytes, each with a pause before it in milliseconds.
    reads: Vec<(usize, u64)>,
}

#[derive(Clone, Debug)]
struct Scene {
    client: Script,
    upstream: Script,
    capacities: (usize, usize),
    interval: u64,
    seed: u64,
}

pub(crate) fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 256,
        rng_seed: RngSeed::Fixed(0x5EED),
        failure_persistence: None,
        max_shrink_iters: 400,
        ..ProptestConfig::default()
    }
}

fn frame() -> impl Strategy<Value = Planned> {
    let data = select(vec![0x01, 0x02, 0x80, 0x00, 0x81, 0x82, 0xC1, 0x83]);
    let edges = select(vec![
        0, 1, 2, 7, 8, 9, 124, 125, 126, 127, 128, 999, 1023, 1024, 4096, 65_534, 65_535, 65_536,
    ]);
    let any_len = prop_oneof![4 => 0..40_usize, 3 => edges, 1 => 0..3000_usize];
    let control = (
        select(vec![0x89, 0x8A]),
        prop_oneof![Just(8), 0..=125_usize],
    );
    let planned = prop_oneof![
        3 => (data, any_len),
        2 => control,
    ];
    (planned, any::<u64>()).prop_map(|((first, len), seed)| Planned { first, len, seed })
}

pub(crate) fn cuts() -> impl Strategy<Value = Vec<(usize, u64)>> {
    let len =
        prop_oneof![2 => 1..4_usize, 2 => 1..200_usize, 2 => 1..9000_usize, 1 => Just(1 << 20)];
    let pause = prop_oneof![3 => Just(0_u64), 1 => 0..8_u64, 1 => 0..60_u64];
    vec((len, pause), 1..12)
}

fn script() -> impl Strategy<Value = Script> {
    (vec(frame(), 0..14), cuts(), cuts()).prop_map(|(mut frames, writes, reads)| {
        // The last is no pong, so that its coming shows that all has come.
        frames.push(Planned {
            first: 0x81,
            len: 3,
            seed: 7,
        });
        Script {
            frames,
            writes,
            reads,
        }
    })
}

fn scene() -> impl Strategy<Value = Scene> {
    let capacity = || prop_oneof![1..20_usize, 1..2000_usize, Just(65_536), Just(1)];
    (
        script(),
        script(),
        (capacity(), capacity()),
        3..40_u64,
        any::<u64>(),
    )
        .prop_map(|(client, upstream, capacities, interval, seed)| Scene {
            client,
            upstream,
            capacities,
            interval,
            seed,
        })
        .prop_map(Scene::in_reasonable_time)
}

impl Planned {
    fn bytes(&self, side: Side) -> Vec<u8> {
        from_side(side, odd(self.first, &rng::payload(self.seed, self.len)))
    }
}

impl Script {
    fn bytes(&self, side: Side) -> Vec<u8> {
        let frames = self.frames.iter().map(|frame| frame.bytes(side));
        frames.collect::<Vec<_>>().concat()
    }
}

/// The traffic that an endpoint received.
#[derive(Default)]
struct Seen {
    /// How much of what the other endpoint sent has come, or was left out.
    theirs: usize,
    /// Pongs that the proxy took for the answers to its own pings, and their bytes.
    swallowed: (usize, usize),
    pings: usize,
    /// Bytes that came behind a close frame.
    close: Option<(u16, Vec<u8>)>,
    /// Bytes at the end that are not a whole frame.
    cut: Vec<u8>,
}

/// The way in which the endpoints end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    /// Each stops writing once its frames are out and all of the other's have come.
    WhenAllHasCome,
    /// The proxy closes; each answers that with a close frame of its own.
    ByTheProxy,
}

impl Scene {
    /// No frame takes more than some hundred reads, writes or turns of a pipe.
    fn in_reasonable_time(mut self) -> Self {
        let mean =
            |cuts: &[(usize, u64)]| cuts.iter().map(|(len, _)| len).sum::<usize>() / cuts.len();
        let slowest = [&self.client, &self.upstream]
            .iter()
            .flat_map(|script| [mean(&script.reads), mean(&script.writes)])
            .chain([self.capacities.0, self.capacities.1])
            .min()
            .unwrap_or(1)
            .max(1);
        for script in [&mut self.client, &mut self.upstream] {
            for frame in &mut script.frames {
                frame.len = frame.len.min(slowest * 300);
            }
        }
        self
    }
}

/// Writes the script; pongs to the proxy's pings come in between, at frame boundaries.
async fn write(
    mut sink: WriteHalf<DuplexStream>,
    side: Side,
    script: Script,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut writes = script.writes.iter().cycle().copied();
    let (mut left, mut pause) = writes.next().unwrap();
    for planned in &script.frames {
        let mut frame = planned.bytes(side);
        let mut is_last = false;
        while let Ok(order) = orders.try_recv() {
            match order {
                Order::Send(own) => frame = [own, frame].concat(),
                Order::End(own) => (frame, is_last) = (own, true),
            }
        }
        let mut rest = &frame[..];
        while !rest.is_empty() {
            let (now, after) = rest.split_at(left.min(rest.len()));
            // The proxy may have hung up once it has closed the tunnel.
            if sink.write_all(now).await.is_err() {
                return;
            }
            rest = after;
            left -= now.len();
            if left == 0 {
                pause_for(pause).await;
                (left, pause) = writes.next().unwrap();
            }
        }
        if is_last {
            let _ = sink.shutdown().await;
            return;
        }
    }
    while let Some(Order::Send(own) | Order::End(own)) = orders.recv().await {
        if sink.write_all(&own).await.is_err() {
            return;
        }
    }
    let _ = sink.shutdown().await;
}

/// Commands from the reading half of an endpoint to its writing half.
enum Order {
    /// Write this frame between two of the script.
    Send(Vec<u8>),
    /// This frame instead of its next one, and nothing more.
    End(Vec<u8>),
}

/// A pause of zero does not even let other tasks run.
pub(crate) async fn pause_for(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// Reads to the end, and answers the proxy's pings, which are distinct from the others.
async fn read(
    mut source: ReadHalf<DuplexStream>,
    side: Side,
    reads: Vec<(usize, u64)>,
    expected: Vec<u8>,
    orders: mpsc::UnboundedSender<Order>,
    ending: Ending,
) -> Seen {
    let mut seen = Seen::default();
    let mut pending = Vec::new();
    let mut orders = Some(orders);
    let mut reads = reads.into_iter().cycle();
    loop {
        if ending == Ending::WhenAllHasCome && seen.theirs >= expected.len() {
            orders = None;
        }
        let (len, pause) = reads.next().unwrap();
        pause_for(pause).await;
        let mut chunk = vec![0; len.min(70_000)];
        let count = source.read(&mut chunk).await.unwrap();
        if count == 0 {
            seen.cut = pending;
            return seen;
        }
        pending.extend_from_slice(&chunk[..count]);
        while let Some(frame_len) = whole_frame(&pending) {
            let frame: Vec<u8> = pending.drain(..frame_len).collect();
            if let Some((_, behind)) = &mut seen.close {
                behind.extend(frame);
            } else if !seen.take(&expected, &frame) {
                let own = own_frame(&frame, side);
                match own.close_code() {
                    None => {
                        seen.pings += 1;
                        let answer = from_side(side, pong(own.payload()));
                        if let Some(orders) = &orders {
                            let _ = orders.send(Order::Send(answer));
                        }
                    }
                    Some(code) => {
                        seen.close = Some((code.as_u16(), Vec::new()));
                        if let Some(orders) = orders.take_if(|_| ending == Ending::ByTheProxy) {
                            let answer = ControlFrame::close(code, "")
                                .encode((side == Side::Client).then_some([1, 2, 3, 4]));
                            let _ = orders.send(Order::End(answer.to_vec()));
                        }
                    }
                }
            }
        }
    }
}

impl Seen {
    /// Whether the frame is the other endpoint's next. Unsolicited pongs may be missing
    /// before it.
    fn take(&mut self, expected: &[u8], frame: &[u8]) -> bool {
        let is_theirs =
            expected[self.theirs..].starts_with(frame) || self.skip_pongs(expected, frame);
        self.theirs += if is_theirs { frame.len() } else { 0 };
        is_theirs
    }

    /// Leaves out the pongs that come next, if this comes behind some of them.
    fn skip_pongs(&mut self, expected: &[u8], then: &[u8]) -> bool {
        let mut skipped = (0, 0);
        let mut rest = &expected[self.theirs..];
        while let Some(len) = pong_len(rest) {
            rest = &rest[len..];
            skipped = (skipped.0 + 1, skipped.1 + len);
            if rest.starts_with(then) {
                self.theirs += skipped.1;
                self.swallowed.0 += skipped.0;
                self.swallowed.1 += skipped.1;
                return true;
            }
        }
        false
    }
}

/// The length of the pong that comes next, if one does.
fn pong_len(bytes: &[u8]) -> Option<usize> {
    let first = OpCode::from_bits(*bytes.first()?);
    (first == OpCode::PONG)
        .then(|| whole_frame(bytes))
        .flatten()
}

/// The length of the frame at the start of these bytes, once it is whole.
fn whole_frame(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let header = Scanner::new().next(&mut rest).expect("only frames")?;
    let len = header.header_len() as usize + header.payload_len() as usize;
    (bytes.len() >= len).then_some(len)
}

/// A frame that is not the next of the other endpoint's must be one of the proxy's own.
fn own_frame(frame: &[u8], side: Side) -> ControlFrame {
    let (control, len) = ControlFrame::parse(frame).unwrap().unwrap();
    assert_eq!(len, frame.len());
    let is_masked = frame[1] & 0x80 != 0;
    assert_eq!(is_masked, side == Side::Upstream, "RFC 6455 §5.1");
    match control.opcode() {
        OpCode::PING => assert_eq!(control.payload().len(), 8, "a cookie: {frame:?}"),
        opcode => assert_eq!(opcode, OpCode::CLOSE, "neither theirs nor ours: {frame:?}"),
    }
    control
}

/// Plays a scene, and returns the traffic that the client and the upstream received.
async fn play(scene: &Scene, config: TunnelConfig, ending: Ending) -> (Seen, Seen, TunnelReport) {
    fastrand::seed(scene.seed);
    let (client, near_client) = duplex(scene.capacities.0);
    let (upstream, near_upstream) = duplex(scene.capacities.1);
    let tunnel = Tunnel::builder(Transport::new(near_client), Transport::new(near_upstream));
    let tunnel = tokio::spawn(tunnel.config(config).build());
    let endpoint = |side: Side, stream, script: &Script, other: &Script, from: Side| {
        let (source, sink) = split(stream);
        let (orders, ordered) = mpsc::unbounded_channel();
        let expected = other.bytes(from);
        let reading = read(source, side, script.reads.clone(), expected, orders, ending);
        tokio::spawn(write(sink, side, script.clone(), ordered));
        tokio::spawn(reading)
    };
    let (c, u) = (&scene.client, &scene.upstream);
    let client = endpoint(Side::Client, client, c, u, Side::Upstream);
    let upstream = endpoint(Side::Upstream, upstream, u, c, Side::Client);
    let (client, upstream, report) = tokio::join!(client, upstream, tunnel);
    (client.unwrap(), upstream.unwrap(), report.unwrap())
}

/// A keep-alive that pings often, and that no slow reader makes impatient.
pub(crate) fn restless(interval: u64) -> TunnelConfig {
    let keep_alive = KeepAlive::default()
        .interval(Duration::from_millis(interval))
        .pong_timeout(Duration::from_secs(24 * 3600));
    TunnelConfig::new()
        .keep_alive(keep_alive)
        .half_close_timeout(None)
        .write_timeout(None)
}

/// Asserts that all bytes of the other endpoint arrived, with nothing of ours inside a frame.
fn assert_whole(seen: &Seen, sent: &[u8], side: Side) {
    assert_eq!(seen.theirs, sent.len(), "to the {side}");
    assert!(seen.cut.is_empty(), "to the {side}: {:?}", seen.cut);
    // An upstream that ends without a close frame is reported to the client (RFC 6455 §7.4.1).
    let lost = (1011, Vec::new());
    let may_be_lost = side == Side::Client && seen.close == Some(lost);
    assert!(
        seen.close.is_none() || may_be_lost,
        "to the {side}: {:?}",
        seen.close
    );
}

/// Asserts that the received bytes end between two frames, and then with at most one close frame.
fn assert_prefix(seen: &Seen, side: Side) {
    assert!(seen.cut.is_empty(), "to the {side}: {:?}", seen.cut);
    assert_eq!(seen.close, Some((1001, Vec::new())), "to the {side}");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_endpoint_receives_what_the_other_sent(scene in scene()) {
        let run = play(&scene, restless(scene.interval), Ending::WhenAllHasCome);
        let (client, upstream, report) = on_a_paused_clock(run);
        let up = scene.client.bytes(Side::Client);
        let down = scene.upstream.bytes(Side::Upstream);
        assert_whole(&client, &down, Side::Client);
        assert_whole(&upstream, &up, Side::Upstream);
        for (passed, script, sent, seen, sender) in [
            (report.client_to_upstream, &scene.client, up, &upstream, &client),
            (report.upstream_to_client, &scene.upstream, down, &client, &upstream),
        ] {
            let (frames, bytes) = seen.swallowed;
            prop_assert!(frames <= sender.pings, "one pong for a ping");
            prop_assert_eq!(passed.frames.total(), (script.frames.len() - frames) as u64);
            prop_assert_eq!(passed.bytes, (sent.len() - bytes) as u64);
            prop_assert!(!passed.opaque);
        }
    }

    #[test]
    fn a_close_at_any_moment_leaves_whole_frames_and_one_close_frame(
        scene in scene(),
        lifetime in 0..400_u64,
    ) {
        let config = restless(scene.interval)
            .max_lifetime(Duration::from_millis(lifetime))
            .lifetime_jitter(0.0)
            .close_timeout(Duration::from_secs(24 * 3600));
        let run = play(&scene, config, Ending::ByTheProxy);
        let (client, upstream, report) = on_a_paused_clock(run);
        assert_prefix(&client, Side::Client);
        assert_prefix(&upstream, Side::Upstream);
        let end = TunnelEnd::Timeout(Timer::MaxLifetime, Side::Proxy);
        prop_assert_eq!(report.end, end);
    }
}

#[test]
fn the_scenes_are_full_of_pings() {
    let planned = |first, len| Planned {
        first,
        len,
        seed: 3,
    };
    let script = Script {
        frames: [planned(0x01, 90), planned(0x8A, 8), planned(0x80, 130)].repeat(9),
        writes: vec![(150, 9), (1, 30)],
        reads: vec![(60_000, 0)],
    };
    let scene = Scene {
        client: script.clone(),
        upstream: script,
        capacities: (500, 3000),
        interval: 4,
        seed: 1,
    };
    let run = play(&scene, restless(4), Ending::WhenAllHasCome);
    let (client, upstream, report) = on_a_paused_clock(run);
    let pings = (client.pings, upstream.pings);
    assert!(pings.0 > 3 && pings.1 > 3, "{pings:?}");
    assert!(report.client_rtt.is_some() && report.upstream_rtt.is_some());
}
