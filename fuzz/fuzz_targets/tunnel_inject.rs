//! Each endpoint of a tunnel receives what the other one sent, whatever the cuts, the pauses and
//! the pipes, with the proxy's pings put in, their pongs taken out, and perhaps a close.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use wsplice::{
    KeepAlive, Transport, Tunnel, TunnelConfig,
    frame::{ControlFrame, FrameHeader, OpCode, Rsv, Scanner, mask},
};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

#[derive(Arbitrary, Debug)]
struct Scene {
    client: Script,
    upstream: Script,
    client_capacity: u16,
    upstream_capacity: u16,
    interval: u8,
    lifetime: Option<u8>,
    seed: u64,
}

#[derive(Arbitrary, Debug)]
struct Script {
    /// First byte of each frame and its length.
    frames: Vec<(u8, u16)>,
    /// Lengths of writes and reads in bytes, with pauses in milliseconds.
    writes: Vec<(u16, u8)>,
    reads: Vec<(u16, u8)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Client,
    Upstream,
}

enum Order {
    Send(Vec<u8>),
    End(Vec<u8>),
}

#[derive(Default)]
struct Seen {
    theirs: usize,
    close: Option<u16>,
}

impl Side {
    fn key(self) -> Option<[u8; 4]> {
        (self == Self::Client).then_some(KEY)
    }
}

impl Script {
    /// Returns the frames on the wire. Closes and pongs become pings: the proxy closes, and it takes
    /// an unsolicited pong for the answer to its ping where the other side has sent no ping. The
    /// budget bounds the time that a slow pipe takes.
    fn frames(&self, side: Side, budget: usize) -> Vec<Vec<u8>> {
        let frames = self.frames.iter().take(40).map(|&(first, len)| {
            let opcode = match OpCode::from_bits(first) {
                OpCode::CLOSE | OpCode::PONG => OpCode::PING,
                opcode => opcode,
            };
            let len = usize::from(len).min(budget);
            let len = if opcode.is_control() { len % 126 } else { len };
            let mut header = FrameHeader::new(opcode, len as u64).expect("short enough");
            if first & 0x80 == 0 {
                header = header.unfinished();
            }
            if first & 0x40 != 0 {
                header = header.with_rsv(Rsv::RSV1);
            }
            let mut payload = vec![first; len];
            if let Some(key) = side.key() {
                header = header.masked(key);
                mask::apply(&mut payload, key, 0);
            }
            [&header.encode()[..], &payload].concat()
        });
        frames.collect()
    }
}

fn pieces(cuts: &[(u16, u8)]) -> impl Iterator<Item = (usize, u64)> + use<> {
    let cuts: Vec<_> = match cuts {
        [] => vec![(4096, 1)],
        cuts => cuts.to_vec(),
    };
    cuts.into_iter()
        .cycle()
        .map(|(len, pause)| (usize::from(len).max(1), u64::from(pause)))
}

async fn pause_for(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

async fn write(
    mut sink: WriteHalf<DuplexStream>,
    frames: Vec<Vec<u8>>,
    cuts: Vec<(u16, u8)>,
    mut orders: UnboundedReceiver<Order>,
) {
    let mut pieces = pieces(&cuts);
    let (mut left, mut pause) = pieces.next().expect("endless");
    for mut frame in frames {
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
            if sink.write_all(now).await.is_err() {
                return;
            }
            rest = after;
            left -= now.len();
            if left == 0 {
                pause_for(pause).await;
                (left, pause) = pieces.next().expect("endless");
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

async fn read(
    mut source: ReadHalf<DuplexStream>,
    side: Side,
    cuts: Vec<(u16, u8)>,
    expected: Vec<u8>,
    orders: UnboundedSender<Order>,
    is_closed_by_proxy: bool,
) -> Seen {
    let (mut seen, mut pending) = (Seen::default(), Vec::new());
    let mut orders = Some(orders);
    let mut pieces = pieces(&cuts);
    loop {
        if !is_closed_by_proxy && seen.theirs == expected.len() {
            orders = None;
        }
        let (len, pause) = pieces.next().expect("endless");
        pause_for(pause).await;
        let mut chunk = vec![0; len];
        let count = source.read(&mut chunk).await.expect("a duplex never fails");
        if count == 0 {
            assert!(pending.is_empty(), "it ends inside a frame");
            return seen;
        }
        pending.extend_from_slice(&chunk[..count]);
        while let Some(len) = whole_frame(&pending) {
            let frame: Vec<u8> = pending.drain(..len).collect();
            assert_eq!(seen.close, None, "nothing follows a close frame");
            if expected[seen.theirs..].starts_with(&frame) {
                seen.theirs += len;
                continue;
            }
            let (own, _) = ControlFrame::parse(&frame).expect("legal").expect("whole");
            assert_eq!(frame[1] & 0x80 != 0, side == Side::Upstream, "the mask");
            if own.opcode() == OpCode::CLOSE {
                let code = own.close_code().expect("a code");
                seen.close = Some(code.as_u16());
                let answer = ControlFrame::close(code, "").encode(side.key());
                if let (true, Some(orders)) = (is_closed_by_proxy, orders.take()) {
                    let _ = orders.send(Order::End(answer.to_vec()));
                }
            } else {
                let answer = own.answer().expect("neither theirs nor a ping of ours");
                assert_eq!(own.payload().len(), 8, "a cookie");
                if let Some(orders) = &orders {
                    let _ = orders.send(Order::Send(answer.encode(side.key()).to_vec()));
                }
            }
        }
    }
}

fn whole_frame(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let header = Scanner::new().next(&mut rest).expect("only frames")?;
    let len = usize::from(header.header_len()) + header.payload_len() as usize;
    (bytes.len() >= len).then_some(len)
}

async fn play(scene: Scene) {
    let ms = |ms: u8| Duration::from_millis(u64::from(ms));
    let day = Duration::from_secs(24 * 3600);
    let keep_alive = KeepAlive::default()
        .interval(ms(scene.interval))
        .pong_timeout(day);
    let config = TunnelConfig::new()
        .keep_alive(keep_alive)
        .half_close_timeout(None)
        .write_timeout(None)
        .close_timeout(day)
        .max_lifetime(scene.lifetime.map(ms))
        .lifetime_jitter(0.0);
    let is_closed = scene.lifetime.is_some();

    let capacities =
        [scene.client_capacity, scene.upstream_capacity].map(|c| usize::from(c).max(1));
    let slowest = [&scene.client, &scene.upstream]
        .iter()
        .flat_map(|script| script.reads.iter().chain(&script.writes))
        .map(|(len, _)| usize::from(*len).max(1))
        .chain(capacities)
        .min()
        .unwrap_or(1);
    let (client, near_client) = duplex(capacities[0]);
    let (upstream, near_upstream) = duplex(capacities[1]);
    let tunnel = Tunnel::builder(Transport::new(near_client), Transport::new(near_upstream));
    let tunnel = tokio::spawn(tunnel.config(config).build());

    let endpoint = |side: Side, stream, script: &Script, frames: &[Vec<u8>], sent: &[Vec<u8>]| {
        let (source, sink) = split(stream);
        let (orders, ordered) = unbounded_channel();
        let (reads, sent) = (script.reads.clone(), sent.concat());
        tokio::spawn(write(sink, frames.to_vec(), script.writes.clone(), ordered));
        tokio::spawn(read(source, side, reads, sent, orders, is_closed))
    };
    let up = scene.client.frames(Side::Client, slowest * 100);
    let down = scene.upstream.frames(Side::Upstream, slowest * 100);
    let client = endpoint(Side::Client, client, &scene.client, &up, &down);
    let upstream = endpoint(Side::Upstream, upstream, &scene.upstream, &down, &up);
    let report = tunnel.await.expect("no panic");
    let client = client.await.expect("no panic");
    let upstream = upstream.await.expect("no panic");

    if is_closed {
        assert_eq!((client.close, upstream.close), (Some(1001), Some(1001)));
    } else {
        // An upstream that ends without a close frame is reported to the client.
        assert!(client.close.is_none_or(|code| code == 1011));
        assert_eq!(upstream.close, None);
        assert_eq!(client.theirs, down.concat().len());
        assert_eq!(upstream.theirs, up.concat().len());
        let frames = report.client_to_upstream.frames.total();
        assert_eq!(
            frames,
            up.len() as u64,
            "pongs to our pings are not counted"
        );
        let frames = report.upstream_to_client.frames.total();
        assert_eq!(frames, down.len() as u64);
    }
}

fuzz_target!(|scene: Scene| {
    fastrand::seed(scene.seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(play(scene));
});
