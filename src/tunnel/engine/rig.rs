//! Tunnels for tests of reattachment, on a paused clock. The test is in the session's place.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    frame::{CloseFrame, ControlFrame, Extensions, OpCode, Rsv, mask},
    net::transport::Transport,
    tunnel::{
        TunnelConfig,
        info::TunnelInfo,
        pair::LegId,
        reattach::{Reattach, ReattachRefusal, Restoration, UpstreamContext},
        registry::{Registry, TunnelGroup},
        report::TunnelReport,
    },
};

use super::{NextUpstream, ReattachParts, Search, TaskAffinity, Tunnel, TunnelParts};

const CLIENT: LegId = LegId::Client;
const UPSTREAM: LegId = LegId::Upstream;

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// Longer than any wait of these tests, on the paused clock.
pub(super) const NEVER: Duration = Duration::from_secs(7 * 24 * 3600);

type Next = Result<NextUpstream, (ReattachRefusal, Option<CloseFrame>)>;

/// A tunnel with both of its ends, and the source of its next upstreams.
pub(super) struct Rig {
    pub(super) client: End,
    pub(super) upstream: End,
    pub(super) next: mpsc::UnboundedSender<Next>,
    pub(super) registry: Registry,
    pub(super) tunnel: JoinHandle<TunnelReport>,
    pub(super) began: Instant,
}

/// The test's end of a connection.
pub(super) struct End {
    pub(super) leg: LegId,
    pub(super) stream: DuplexStream,
}

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn parts() -> ReattachParts {
    ReattachParts {
        settings: Arc::new(Reattach::new()),
        agreement: None,
        reserved_bits: Rsv::NONE,
    }
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(TunnelConfig::new(), parts(), 64 * 1024)
    }

    pub(super) fn with(config: TunnelConfig, reattach: ReattachParts, capacity: usize) -> Self {
        let (client, near_client) = duplex(64 * 1024);
        let (upstream, near_upstream) = duplex(capacity);
        let parts = TunnelParts {
            client: Transport::new(near_client),
            client_read_ahead: Bytes::new(),
            upstream: Transport::new(near_upstream),
            upstream_read_ahead: Bytes::new(),
            extensions: Extensions::None,
            reattach: Some(reattach),
        };
        let registry = Registry::new();
        let guard = registry.enter(None, TunnelInfo::new("first", "/"));
        let tunnel = Tunnel::from_parts(parts, config.into(), guard, TaskAffinity::ONE_TASK);
        let (next, nexts) = mpsc::unbounded_channel();
        Self {
            client: End::new(CLIENT, client),
            upstream: End::new(UPSTREAM, upstream),
            next,
            registry,
            tunnel: tokio::spawn(run(tunnel, nexts)),
            began: Instant::now(),
        }
    }

    /// Prepares the next upstream, which the tunnel gets when it needs one.
    pub(super) fn prepare(&self) -> End {
        let (upstream, near) = duplex(64 * 1024);
        self.next.send(Ok(next(near))).unwrap();
        End::new(UPSTREAM, upstream)
    }

    /// Lets the tunnel have no other upstream.
    pub(super) fn refuse(&self, refusal: ReattachRefusal) {
        self.next.send(Err((refusal, None))).unwrap();
    }

    /// Ends the upstream's connection.
    pub(super) fn lose(&mut self) {
        drop(std::mem::replace(&mut self.upstream.stream, duplex(1).0));
    }

    /// Ends the upstream's connection, and gives the tunnel the next one.
    pub(super) fn replace(&mut self) {
        self.upstream = self.prepare();
    }

    pub(super) async fn passes_both_ways(&mut self) {
        for from in LegId::BOTH {
            let (from, to) = match from {
                CLIENT => (&mut self.client, &mut self.upstream),
                UPSTREAM => (&mut self.upstream, &mut self.client),
            };
            let message = from.text(b"passes");
            from.send(&message).await;
            assert_eq!(to.exactly(message.len()).await, message);
        }
    }

    pub(super) async fn report(self) -> TunnelReport {
        let report = timeout(NEVER, self.tunnel).await;
        report.expect("the tunnel never ended").unwrap()
    }
}

/// The next upstream, at the other end of this stream.
pub(super) fn next(near: DuplexStream) -> NextUpstream {
    NextUpstream {
        name: "next".into(),
        transport: Transport::new(near),
        read_ahead: Bytes::new(),
        context: UpstreamContext::Kept,
        restoration: Restoration::new(),
    }
}

/// Runs a tunnel as its session does.
async fn run(mut tunnel: Tunnel, mut nexts: mpsc::UnboundedReceiver<Next>) -> TunnelReport {
    let group = Arc::new(TunnelGroup::default());
    let mut found = None;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(report) = Pin::new(&mut tunnel).poll(cx) {
                return Poll::Ready(report);
            }
            let search = tunnel.search();
            if search == Search::None {
                found = None;
            }
            if matches!(search, Search::None | Search::Over) {
                return Poll::Pending;
            }
            if let Search::AfterLoss(_) = search {
                tunnel.leave_owner();
            }
            let next = match found.take() {
                Some(next) => Some(Ok(next)),
                None => ready!(nexts.poll_recv(cx)),
            };
            match (next, search) {
                (None, _) => return Poll::Pending,
                (Some(Ok(next)), Search::Move) => {
                    found = Some(next);
                    tunnel.leave_upstream();
                }
                (Some(Err((refusal, frame))), Search::Move) => {
                    tunnel.refuse_move(refusal, frame);
                }
                (Some(Ok(next)), _) => tunnel.attach(next, &group),
                (Some(Err((refusal, frame))), _) => tunnel.end_reattachment(refusal, frame),
            }
        }
    })
    .await
}

impl End {
    pub(super) fn new(leg: LegId, stream: DuplexStream) -> Self {
        Self { leg, stream }
    }

    pub(super) fn frame(&self, first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        let mut payload = payload.to_vec();
        let masked = match self.leg {
            CLIENT => 0x80,
            UPSTREAM => 0,
        };
        match u8::try_from(payload.len()) {
            Ok(len @ ..=125) => frame.push(masked | len),
            _ => {
                frame.push(masked | 126);
                frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        if self.leg == CLIENT {
            frame.extend(KEY);
            mask::apply(&mut payload, KEY, 0);
        }
        frame.extend(payload);
        frame
    }

    pub(super) fn text(&self, payload: &[u8]) -> Vec<u8> {
        self.frame(0x81, payload)
    }

    pub(super) fn close(&self, code: u16, reason: &str) -> Vec<u8> {
        let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
        self.frame(0x88, &payload)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        let sent = timeout(NEVER, self.stream.write_all(bytes)).await;
        sent.expect("the tunnel takes nothing").unwrap();
    }

    pub(super) async fn exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let read = timeout(NEVER, self.stream.read_exact(&mut bytes)).await;
        read.expect("nothing comes").expect("too little came");
        bytes
    }

    /// The next frame, which is a control frame.
    pub(super) async fn control(&mut self) -> ControlFrame {
        let mut frame = self.exactly(2).await;
        let masked = if frame[1] & 0x80 == 0 { 0 } else { 4 };
        frame.extend(self.exactly(masked + usize::from(frame[1] & 0x7F)).await);
        ControlFrame::parse(&frame).unwrap().unwrap().0
    }

    pub(super) async fn is_quiet_for(&mut self, time: Duration) {
        let mut byte = [0];
        let read = timeout(time, self.stream.read(&mut byte)).await;
        assert!(read.is_err(), "not quiet: {read:?} {byte:?}");
    }

    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = timeout(NEVER, self.stream.read_to_end(&mut bytes)).await;
        read.expect("it never ends").unwrap();
        bytes
    }
}

pub(super) fn ping(payload: &[u8]) -> ControlFrame {
    ControlFrame::new(OpCode::PING, payload).unwrap()
}
