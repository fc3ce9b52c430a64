//! Commands from outside (registry, drain) on a paused clock; the rest is tested from without.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{TaskAffinity, Tunnel, TunnelParts, state::random_share};
use crate::{
    error::Side,
    frame::{CloseCode, CloseFrame, ControlFrame, Extensions, Rsv, Violation},
    net::transport::Transport,
    tunnel::{
        Framing, TunnelConfig,
        drain::Drain,
        info::TunnelInfo,
        keep_alive::KeepAlive,
        registry::{Command, Registry},
        report::{Timer, TunnelEnd, TunnelReport},
    },
};

const SIDES: [Side; 2] = [Side::Client, Side::Upstream];

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A listed tunnel with both of its ends.
struct Rig {
    ends: [DuplexStream; 2],
    registry: Registry,
    tunnel: JoinHandle<TunnelReport>,
    began: Instant,
}

const fn opposite(side: Side) -> Side {
    match side {
        Side::Client => Side::Upstream,
        _ => Side::Client,
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn info() -> TunnelInfo {
    TunnelInfo::new("ws://upstream", "/")
}

impl Rig {
    fn new(config: TunnelConfig) -> Self {
        Self::with_extensions(config, Extensions::Unknown)
    }

    fn with_extensions(config: TunnelConfig, extensions: Extensions) -> Self {
        let (client, near_client) = duplex(1024);
        let (upstream, near_upstream) = duplex(1024);
        let parts = TunnelParts {
            client: Transport::new(near_client),
            client_read_ahead: Bytes::new(),
            upstream: Transport::new(near_upstream),
            upstream_read_ahead: Bytes::new(),
            extensions,
            reattach: None,
        };
        let registry = Registry::new();
        let guard = registry.enter(None, info());
        let tunnel = Tunnel::from_parts(parts, Arc::new(config), guard, TaskAffinity::ONE_TASK);
        Self {
            ends: [client, upstream],
            registry,
            tunnel: tokio::spawn(tunnel),
            began: Instant::now(),
        }
    }

    fn end(&mut self, side: Side) -> &mut DuplexStream {
        &mut self.ends[usize::from(side == Side::Upstream)]
    }

    async fn send(&mut self, from: Side, bytes: &[u8]) {
        self.end(from).write_all(bytes).await.unwrap();
    }

    async fn exactly(&mut self, at: Side, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.end(at).read_exact(&mut bytes).await.unwrap();
        bytes
    }

    /// The close frame that comes next: its code and reason.
    async fn close(&mut self, at: Side) -> (u16, String) {
        let mut bytes = self.exactly(at, 2).await;
        let rest = usize::from(bytes[1] & 0x7F) + if bytes[1] & 0x80 == 0 { 0 } else { 4 };
        bytes.extend(self.exactly(at, rest).await);
        let (frame, _) = ControlFrame::parse(&bytes).unwrap().unwrap();
        let code = frame.close_code().expect("a close frame with a code");
        (code.as_u16(), frame.close_reason().unwrap().to_owned())
    }

    async fn answer_close(&mut self, from: Side) {
        let frame = ControlFrame::close(CloseCode::NORMAL, "");
        let key = (from == Side::Client).then_some(KEY);
        self.send(from, &frame.encode(key)).await;
    }

    async fn is_quiet_for(&mut self, side: Side, time: Duration) {
        let read = timeout(time, self.end(side).read_u8()).await;
        assert!(read.is_err(), "{read:?}");
    }

    async fn report(&mut self) -> TunnelReport {
        (&mut self.tunnel).await.unwrap()
    }

    fn request_close(&self) {
        let frame = CloseFrame::new(CloseCode::SERVICE_RESTART, "moving");
        assert_eq!(self.registry.close_where(|_| true, frame), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_asked_for_wakes_a_quiet_tunnel() {
    let mut rig = Rig::new(TunnelConfig::new());
    rig.is_quiet_for(Side::Client, secs(1000)).await;
    rig.request_close();
    for side in SIDES {
        assert_eq!(rig.close(side).await, (1012, "moving".into()));
        rig.answer_close(side).await;
    }
    let report = rig.report().await;
    assert_eq!(report.end, TunnelEnd::Requested);
    assert_eq!(report.initiator, Side::Proxy);
    assert_eq!(rig.began.elapsed(), secs(1000), "at once");
    assert_eq!(rig.registry.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_each_leg_at_its_moment_and_waits() {
    let mut rig = Rig::new(TunnelConfig::new());
    let drain = Drain::new(&rig.registry).spread(secs(5));
    let drained = tokio::spawn(async move { drain.run().await });
    for side in SIDES {
        assert_eq!(rig.close(side).await, (1001, "going away".into()));
    }
    assert!(rig.began.elapsed() <= secs(5) + Duration::from_millis(1));
    assert!(!drained.is_finished(), "not before the tunnel is over");
    for side in SIDES {
        rig.answer_close(side).await;
    }
    let drained = drained.await.unwrap();
    assert_eq!((drained.closed, drained.aborted), (1, 0));
    assert_eq!(rig.report().await.end, TunnelEnd::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_drain_cuts_off_what_is_open_at_its_deadline() {
    let mut rig = Rig::new(TunnelConfig::new().close_timeout(secs(3600)));
    let drain = Drain::new(&rig.registry).deadline(secs(20));
    let drained = drain.run().await;
    assert_eq!((drained.closed, drained.aborted), (0, 1));
    assert_eq!(rig.began.elapsed(), secs(20));
    assert_eq!(rig.report().await.end, TunnelEnd::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_a_deadline_waits() {
    let mut rig = Rig::new(TunnelConfig::new());
    let drain = Drain::new(&rig.registry).deadline(Duration::MAX);
    let drained = tokio::spawn(async move { drain.run().await });
    for side in SIDES {
        rig.close(side).await;
        rig.answer_close(side).await;
    }
    assert_eq!(drained.await.unwrap().closed, 1);
    let mut rig = Rig::new(TunnelConfig::new());
    let drain = Drain::new(&rig.registry).spread(Duration::MAX);
    let drained = drain.deadline(secs(20)).run().await;
    assert_eq!(drained.aborted, 1);
    rig.report().await;
}

#[tokio::test(start_paused = true)]
async fn no_later_command_takes_an_abort_back() {
    let mut rig = Rig::new(TunnelConfig::new().close_timeout(secs(3600)));
    let entry = rig.registry.entries().remove(0);
    entry.send_command(Command::Abort {
        end: TunnelEnd::Drained,
    });
    rig.request_close();
    assert_eq!(rig.report().await.end, TunnelEnd::Drained);
    assert_eq!(rig.began.elapsed(), secs(0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_during_a_half_close_closes_the_open_leg() {
    for first in SIDES {
        let mut rig = Rig::new(TunnelConfig::new());
        let other = opposite(first);
        rig.answer_close(first).await;
        rig.end(first).shutdown().await.unwrap();
        let len = if first == Side::Client { 8 } else { 4 };
        assert_eq!(rig.exactly(other, len).await[0], 0x88);
        tokio::time::sleep(secs(4)).await;
        let drain = Drain::new(&rig.registry);
        let drained = tokio::spawn(async move { drain.run().await });
        // The side that ended can still be sent a close; the other has had its last frame.
        assert_eq!(rig.close(first).await.0, 1001);
        let mut rest = Vec::new();
        rig.end(other).read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"", "nothing after a close frame");
        // The side stays, and is cut off.
        assert_eq!(drained.await.unwrap().aborted, 1);
        assert_eq!(rig.report().await.end, TunnelEnd::Drained);
        // The side has had its close frame, and as much time as after one of ours.
        assert_eq!(rig.began.elapsed(), secs(9), "{first}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_asked_for_waits_for_a_boundary() {
    for side in SIDES {
        let mut rig = Rig::new(TunnelConfig::new());
        let other = opposite(side);
        rig.send(other, &[0x82, 4, 1]).await;
        rig.exactly(side, 3).await;
        rig.request_close();
        rig.is_quiet_for(side, secs(4)).await;
        rig.send(other, &[2, 3, 4]).await;
        assert_eq!(rig.exactly(side, 3).await, [2, 3, 4]);
        assert_eq!(rig.close(side).await.0, 1012);
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_asked_for_while_a_sink_stalls_reaches_it_behind_its_bytes() {
    for side in SIDES {
        let mut rig = Rig::new(TunnelConfig::new());
        // 1,504 bytes into a pipe of 1,024.
        let frame = [&[0x82, 126, 0x05, 0xDC][..], &[7; 1500]].concat();
        rig.send(opposite(side), &frame).await;
        tokio::time::sleep(secs(30)).await;
        rig.request_close();
        tokio::time::sleep(secs(4)).await;
        assert!(rig.exactly(side, frame.len()).await == frame);
        assert_eq!(rig.close(side).await.0, 1012);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_close_changes_neither_the_frames_nor_the_report() {
    let mut rig = Rig::new(TunnelConfig::new());
    rig.request_close();
    assert_eq!(rig.close(Side::Client).await.0, 1012);
    let drain = Drain::new(&rig.registry).deadline(secs(60));
    let drained = tokio::spawn(async move { drain.run().await });
    rig.is_quiet_for(Side::Client, secs(4)).await;
    assert_eq!(drained.await.unwrap().aborted, 1);
    assert_eq!(rig.began.elapsed(), secs(5), "the first close's timeout");
    assert_eq!(rig.report().await.end, TunnelEnd::Requested);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_floods_an_echo_and_hardly_reads_makes_no_upstream_look_failed() {
    for reads in [0, 1] {
        let Rig {
            ends: [client, upstream],
            tunnel,
            registry: _registry,
            began,
        } = Rig::new(TunnelConfig::new());
        let (mut from_proxy, mut to_proxy) = tokio::io::split(upstream);
        tokio::spawn(async move { tokio::io::copy(&mut from_proxy, &mut to_proxy).await });
        let (mut read, mut write) = tokio::io::split(client);
        let frame = ControlFrame::ping(b"flood").encode(Some(KEY));
        tokio::spawn(async move { while write.write_all(&frame).await.is_ok() {} });
        for _ in 0..reads {
            tokio::time::sleep(secs(30)).await;
            read.read_exact(&mut [0; 64]).await.unwrap();
        }
        let report = tunnel.await.unwrap();
        assert_eq!(report.end, TunnelEnd::Timeout(Timer::Write, Side::Client));
        assert_eq!(report.initiator, Side::Client);
        assert!(!report.is_upstream_failure());
        assert!(began.elapsed() >= secs(60), "{reads}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_counts_a_leg_that_is_reset_inside_a_frame_as_aborted() {
    for side in SIDES {
        let mut rig = Rig::new(TunnelConfig::new());
        rig.send(side, &[0x82, 4, 1]).await;
        rig.exactly(opposite(side), 3).await;
        let drain = Drain::new(&rig.registry);
        let drained = tokio::spawn(async move { drain.run().await });
        // The close frame for the other leg waits for the end of the frame, which never comes.
        rig.close(side).await;
        rig.end(side).shutdown().await.unwrap();
        let drained = drained.await.unwrap();
        assert_eq!((drained.closed, drained.aborted), (0, 1), "{side}");
        assert_eq!(rig.report().await.unanswered_close, None, "{side}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leg_that_answers_no_ping_departs_as_cut() {
    for side in SIDES {
        let keep_alive = KeepAlive::default().interval(secs(5)).jitter(0.0);
        let config = match side {
            Side::Client => TunnelConfig::new().client_keep_alive(keep_alive),
            _ => TunnelConfig::new().upstream_keep_alive(keep_alive),
        };
        let mut rig = Rig::new(config);
        let entry = rig.registry.entries().remove(0);
        let other = opposite(side);
        rig.close(other).await;
        rig.answer_close(other).await;
        let end = TunnelEnd::Timeout(Timer::Pong, side);
        assert_eq!(rig.report().await.end, end);
        assert!(entry.was_cut(), "{side}");
    }
}

fn close_at(moment: Instant) -> Command {
    Command::Close {
        frame: CloseFrame::new(CloseCode::SERVICE_RESTART, ""),
        end: TunnelEnd::Drained,
        at: Some(moment),
        until: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_schedule_does_not_postpone_an_earlier_close() {
    for moments in [[2, 60], [60, 2]] {
        let mut rig = Rig::new(TunnelConfig::new());
        let entry = rig.registry.entries().remove(0);
        for after in moments {
            entry.send_command(close_at(rig.began + secs(after)));
            rig.is_quiet_for(Side::Client, Duration::from_millis(1))
                .await;
        }
        assert_eq!(rig.close(Side::Client).await.0, 1012);
        assert_eq!(rig.began.elapsed(), secs(2), "{moments:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_cut_a_frame_that_still_moves() {
    for slow in SIDES {
        let rig = Rig::new(TunnelConfig::new());
        let drain = Drain::new(&rig.registry).deadline(secs(600));
        let frame = [&[0x82, 126, 0x27, 0x10][..], &[7; 10_000]].concat();
        let [client, upstream] = rig.ends;
        let ((mut reader, reader_key), (mut source, source_key)) = match slow {
            Side::Client => ((client, Some(KEY)), (upstream, None)),
            _ => ((upstream, None), (client, Some(KEY))),
        };
        // 10 KB at 400 bytes a second; the drain begins while they pass.
        let write = async {
            source.write_all(&frame).await.unwrap();
            leave_politely(source, source_key).await.1
        };
        let read = async {
            let mut got = vec![0; frame.len()];
            for part in got.chunks_mut(400) {
                reader.read_exact(part).await.unwrap();
                tokio::time::sleep(secs(1)).await;
            }
            assert!(got == frame, "{slow}");
            leave_politely(reader, reader_key).await.1
        };
        let drained = async {
            tokio::time::sleep(secs(5)).await;
            drain.run().await
        };
        let (at_source, at_reader, drained) = tokio::join!(write, read, drained);
        assert_eq!((at_source, at_reader), (1001, 1001), "{slow}");
        assert!(rig.began.elapsed() > secs(20));
        assert_eq!(drained.aborted, 0);
        assert_eq!(rig.tunnel.await.unwrap().unanswered_close, None);
    }
}

#[tokio::test(start_paused = true)]
async fn the_user_can_change_requested_closes_too() {
    let config = TunnelConfig::new().map_close_frame(|end, side, frame| match side {
        Side::Client => {
            assert_eq!(*end, TunnelEnd::Requested);
            CloseFrame::new(CloseCode::new(4000), "come back")
        }
        _ => panic!("the host's code fails: {frame:?}"),
    });
    let mut rig = Rig::new(config);
    rig.request_close();
    assert_eq!(rig.close(Side::Client).await, (4000, "come back".into()));
    let unchanged = (1012, "moving".into());
    assert_eq!(
        rig.close(Side::Upstream).await,
        unchanged,
        "a panic changes nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_that_ends_before_a_scheduled_close_wins() {
    let config = TunnelConfig::new()
        .max_lifetime(secs(3))
        .lifetime_jitter(0.0);
    let mut rig = Rig::new(config);
    let entry = rig.registry.entries().remove(0);
    entry.send_command(Command::Close {
        frame: CloseFrame::new(CloseCode::SERVICE_RESTART, ""),
        end: TunnelEnd::Drained,
        at: Some(Instant::now() + secs(10)),
        until: None,
    });
    assert_eq!(rig.close(Side::Client).await.0, 1001);
    let end = TunnelEnd::Timeout(Timer::MaxLifetime, Side::Proxy);
    assert_eq!(rig.report().await.end, end);
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_both_legs_at_once() {
    let mut rig = Rig::new(TunnelConfig::new());
    let entry = rig.registry.entries().remove(0);
    entry.send_command(Command::Abort {
        end: TunnelEnd::Drained,
    });
    for side in SIDES {
        let mut rest = Vec::new();
        rig.end(side).read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    }
    assert_eq!(rig.report().await.end, TunnelEnd::Drained);
    assert_eq!(rig.began.elapsed(), secs(0));
}

#[tokio::test(start_paused = true)]
async fn the_registry_shows_what_passed_and_the_round_trip() {
    let keep_alive = KeepAlive::default().interval(secs(20)).jitter(0.0);
    let mut rig = Rig::new(TunnelConfig::new().client_keep_alive(keep_alive));
    let ping = rig.exactly(Side::Client, 10).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    let (ping, _) = ControlFrame::parse(&ping).unwrap().unwrap();
    let pong = ping.answer().unwrap().encode(Some(KEY));
    rig.send(Side::Client, &pong).await;
    rig.send(Side::Upstream, &[0x81, 1, b'x']).await;
    rig.exactly(Side::Client, 3).await;
    let status = rig.registry.list().remove(0);
    assert_eq!(status.client.rtt, Some(Duration::from_millis(30)));
    assert_eq!(status.upstream.rtt, None);
    assert_eq!((status.client.bytes, status.client.frames), (0, 0));
    assert_eq!((status.upstream.bytes, status.upstream.frames), (3, 1));
    assert_eq!(status.client.last_received, Duration::from_millis(20_030));
}

#[tokio::test(start_paused = true)]
async fn reserved_bits_are_a_violation_once_no_extension_was_agreed_on_rfc6455_5_2() {
    let frame = [0xC1, 0];
    for (extensions, passes) in [
        (Extensions::None, false),
        (Extensions::Agreed, true),
        (Extensions::Unknown, true),
    ] {
        let config = TunnelConfig::new().framing(Framing::Enforce);
        let mut rig = Rig::with_extensions(config, extensions);
        rig.send(Side::Upstream, &frame).await;
        if passes {
            assert_eq!(rig.exactly(Side::Client, 2).await, frame);
        } else {
            assert_eq!(rig.close(Side::Upstream).await.0, 1002);
            assert_eq!(rig.close(Side::Client).await.0, 1011);
            let end = TunnelEnd::Violation(Violation::ReservedBits(Rsv::RSV1), Side::Upstream);
            assert_eq!(rig.report().await.end, end);
        }
    }
}

#[test]
fn a_lifetime_is_shortened_and_never_lengthened() {
    let full = secs(1000);
    let shortened = |jitter| full.mul_f32(random_share(jitter));
    for _ in 0..1000 {
        let within = |jitter, from| (from..=full).contains(&shortened(jitter));
        assert!(within(0.1, secs(900)));
        assert!(within(1.0, secs(0)));
        assert!(within(9.0, secs(0)));
    }
    for jitter in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
        assert_eq!(shortened(jitter), full);
    }
}

/// Opens a listed tunnel whose two ends answer a close frame and leave; the task returns when the
/// client got its own, and with which code.
fn polite_tunnel(registry: &Registry) -> JoinHandle<(Instant, u16)> {
    let (client, near_client) = duplex(256);
    let (upstream, near_upstream) = duplex(256);
    let parts = TunnelParts {
        client: Transport::new(near_client),
        client_read_ahead: Bytes::new(),
        upstream: Transport::new(near_upstream),
        upstream_read_ahead: Bytes::new(),
        extensions: Extensions::None,
        reattach: None,
    };
    let guard = registry.enter(None, info());
    let config = Arc::new(TunnelConfig::new());
    tokio::spawn(Tunnel::from_parts(
        parts,
        config,
        guard,
        TaskAffinity::ONE_TASK,
    ));
    tokio::spawn(leave_politely(upstream, None));
    tokio::spawn(leave_politely(client, Some(KEY)))
}

async fn leave_politely(mut end: DuplexStream, key: Option<[u8; 4]>) -> (Instant, u16) {
    let mut head = [0; 2];
    end.read_exact(&mut head).await.unwrap();
    let came = Instant::now();
    let masked = if head[1] & 0x80 == 0 { 0 } else { 4 };
    let mut rest = vec![0; masked + usize::from(head[1] & 0x7F)];
    end.read_exact(&mut rest).await.unwrap();
    let wire = [&head[..], &rest].concat();
    let (close, _) = ControlFrame::parse(&wire).unwrap().unwrap();
    end.write_all(&close.encode(key)).await.unwrap();
    end.read_to_end(&mut rest).await.unwrap();
    (came, close.close_code().unwrap().as_u16())
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_two_thousand_spreads_its_closes_evenly() {
    let registry = Registry::new();
    let clients: Vec<_> = (0..2000).map(|_| polite_tunnel(&registry)).collect();
    let frame = CloseFrame::new(CloseCode::SERVICE_RESTART, "back soon");
    let drain = Drain::new(&registry).spread(secs(5)).close_frame(frame);
    let began = Instant::now();
    let drained = drain.run().await;
    assert_eq!((drained.closed, drained.aborted), (2000, 0));
    assert_eq!(registry.count(), 0, "nothing is left behind");
    let mut seconds = [0_u32; 6];
    for client in clients {
        let (came, code) = client.await.unwrap();
        assert_eq!(code, 1012);
        let second = came.duration_since(began).as_secs();
        seconds[usize::try_from(second).unwrap()] += 1;
    }
    for share in &seconds[..5] {
        assert!(
            (300..=500).contains(share),
            "20 % give or take 5: {seconds:?}"
        );
    }
    assert!(seconds[5] <= 1, "{seconds:?}");
}
