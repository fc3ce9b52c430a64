//! A tunnel in memory on a paused clock, with both of its ends in the test's hands.
//!
//! The runtime moves the clock only when every task waits, so a wait takes no time and ends at an
//! exact moment. No socket is involved, and nothing here knows the time of day.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tungstenite::protocol::frame::Frame;
use wsplice::{
    KeepAlive, TunnelConfig, TunnelReport,
    connect::Transport,
    tunnel::{Side, Tunnel, TunnelHandle},
};

use super::support::frames::{FrameHead, RawFrame, pong};

pub(crate) use super::support::{
    clock::{ms, secs},
    sides::{SIDES, from_side, opposite},
};

/// Longer than any wait of these tests, on the paused clock.
const NEVER: Duration = Duration::from_secs(7 * 24 * 3600);

/// Ping after exactly 20 s, pong within 10 s.
pub(crate) fn steady() -> KeepAlive {
    KeepAlive::default().jitter(0.0)
}

/// Keep-alive on one leg only.
pub(crate) fn only(side: Side, keep_alive: KeepAlive) -> TunnelConfig {
    match side {
        Side::Client => TunnelConfig::new().client_keep_alive(keep_alive),
        _ => TunnelConfig::new().upstream_keep_alive(keep_alive),
    }
}

/// A running tunnel and its two ends.
pub(crate) struct Rig {
    client: End,
    upstream: End,
    handle: TunnelHandle,
    tunnel: JoinHandle<TunnelReport>,
    began: Instant,
}

/// The test's end of one connection.
pub(crate) struct End {
    side: Side,
    stream: DuplexStream,
    switch: Arc<Switch>,
}

impl Rig {
    /// Each connection takes 64 KiB in each direction before it stalls.
    pub(crate) fn new(config: TunnelConfig) -> Self {
        Self::with_capacity(config, 64 * 1024)
    }

    pub(crate) fn with_capacity(config: TunnelConfig, capacity: usize) -> Self {
        let (client, near_client) = End::new(Side::Client, capacity);
        let (upstream, near_upstream) = End::new(Side::Upstream, capacity);
        let tunnel = Tunnel::builder(Transport::new(near_client), Transport::new(near_upstream))
            .config(config)
            .build();
        Self {
            client,
            upstream,
            handle: tunnel.handle(),
            tunnel: tokio::spawn(tunnel),
            began: Instant::now(),
        }
    }

    pub(crate) fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Client => &mut self.client,
            _ => &mut self.upstream,
        }
    }

    /// Both ends: that of `side`, then the other.
    pub(crate) fn ends(&mut self, side: Side) -> (&mut End, &mut End) {
        match side {
            Side::Client => (&mut self.client, &mut self.upstream),
            _ => (&mut self.upstream, &mut self.client),
        }
    }

    pub(crate) const fn handle(&self) -> &TunnelHandle {
        &self.handle
    }

    /// Time since the tunnel began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Passes a frame from one end to the other and checks that it arrives unchanged.
    pub(crate) async fn passes(&mut self, from: Side, frame: Frame) {
        let (source, sink) = self.ends(from);
        let bytes = from_side(from, frame);
        source.send_raw(&bytes).await;
        assert_eq!(sink.frame().await.raw, bytes, "from the {from}");
    }

    /// Waits for the end of the tunnel. Both connections stay open on the test's side.
    pub(crate) async fn report(&mut self) -> TunnelReport {
        let report = timeout(NEVER, &mut self.tunnel).await;
        report
            .expect("the tunnel never ended")
            .expect("it panicked")
    }

    pub(crate) fn is_over(&self) -> bool {
        self.tunnel.is_finished()
    }
}

impl End {
    fn new(side: Side, capacity: usize) -> (Self, Faulty) {
        let (stream, near) = duplex(capacity);
        let switch = Arc::new(Switch::default());
        let faulty = Faulty {
            stream: near,
            switch: Arc::clone(&switch),
        };
        let end = Self {
            side,
            stream,
            switch,
        };
        (end, faulty)
    }

    /// Sends a frame, masked if this is the client.
    pub(crate) async fn send(&mut self, frame: Frame) {
        let bytes = from_side(self.side, frame);
        self.send_raw(&bytes).await;
    }

    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        let sent = timeout(NEVER, self.stream.write_all(bytes)).await;
        sent.expect("the tunnel takes nothing")
            .expect("the tunnel hung up");
    }

    /// The next frame, whatever it is.
    pub(crate) async fn frame(&mut self) -> RawFrame {
        let mut head = self.exactly(2).await;
        head.extend(self.exactly(FrameHead::rest_len(&head)).await);
        let head = FrameHead::new(head);
        let payload = self.exactly(head.len).await;
        head.with_payload(payload)
    }

    /// The next frame, which is a ping of the proxy's own: its payload.
    pub(crate) async fn ping(&mut self) -> Vec<u8> {
        let frame = self.frame().await;
        assert_eq!(frame.first, 0x89, "a whole ping: {frame:?}");
        // RFC 6455 §5.1: masked to the upstream, unmasked to the client.
        assert_eq!(frame.mask.is_some(), self.side == Side::Upstream);
        frame.payload
    }

    /// Answers the proxy's next ping.
    pub(crate) async fn answer_ping(&mut self) {
        let cookie = self.ping().await;
        self.send(pong(&cookie)).await;
    }

    /// The next frame, which is a close of the proxy's own: its code.
    pub(crate) async fn close_code(&mut self) -> u16 {
        let frame = self.frame().await;
        assert_eq!(frame.mask.is_some(), self.side == Side::Upstream);
        frame.close().expect("a code").0
    }

    pub(crate) async fn exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let read = timeout(NEVER, self.stream.read_exact(&mut bytes)).await;
        read.expect("nothing comes").expect("too little came");
        bytes
    }

    /// The orderly or disorderly end of what the tunnel sends, with nothing before it.
    pub(crate) async fn end_of_stream(&mut self) {
        assert_eq!(self.rest().await, b"", "nothing before the end");
    }

    /// All that still comes, up to the end.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = timeout(NEVER, self.stream.read_to_end(&mut bytes)).await;
        read.expect("it never ends").expect("a duplex never fails");
        bytes
    }

    /// Asserts that nothing arrives for this long, and no end either.
    pub(crate) async fn is_quiet_for(&mut self, time: Duration) {
        let mut byte = [0];
        let read = timeout(time, self.stream.read(&mut byte)).await;
        assert!(read.is_err(), "not quiet: {read:?} {byte:?}");
    }

    /// Ends this side's direction in order; it can still be sent to.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.expect("a duplex never fails");
    }

    /// Makes the tunnel's reads of this connection fail.
    pub(crate) fn fail_reads(&self, kind: io::ErrorKind) {
        self.switch.turn(|switches| switches.read = Some(kind));
    }

    /// Makes the tunnel's writes to this connection fail.
    pub(crate) fn fail_writes(&self, kind: io::ErrorKind) {
        self.switch.turn(|switches| switches.write = Some(kind));
    }

    /// Whether the tunnel ended this connection in order, rather than dropping it.
    pub(crate) fn was_shut_down(&self) -> bool {
        self.switch.turn(|switches| switches.was_shut_down)
    }
}

/// A stream that breaks on command.
struct Faulty {
    stream: DuplexStream,
    switch: Arc<Switch>,
}

#[derive(Default)]
struct Switch(Mutex<Switches>);

#[derive(Default)]
struct Switches {
    read: Option<io::ErrorKind>,
    write: Option<io::ErrorKind>,
    was_shut_down: bool,
    waker: Option<Waker>,
}

impl Switch {
    fn turn<T>(&self, change: impl FnOnce(&mut Switches) -> T) -> T {
        let mut switches = self.0.lock().unwrap();
        let result = change(&mut switches);
        if let Some(waker) = switches.waker.take() {
            waker.wake();
        }
        result
    }

    fn look<T>(&self, cx: &Context<'_>, look: impl FnOnce(&mut Switches) -> T) -> T {
        let mut switches = self.0.lock().unwrap();
        switches.waker = Some(cx.waker().clone());
        look(&mut switches)
    }
}

impl AsyncRead for Faulty {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(kind) = self.switch.look(cx, |switches| switches.read) {
            return Poll::Ready(Err(kind.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Faulty {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(kind) = self.switch.look(cx, |switches| switches.write) {
            return Poll::Ready(Err(kind.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.switch
            .look(cx, |switches| switches.was_shut_down = true);
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
