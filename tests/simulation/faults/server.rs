//! An upstream: it echoes clients' messages, sends messages of its own, and fails as its plan says.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Error, Message as Frame,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::{
    ledger::Ledger,
    message::{Kind, Message, Missing, Order},
    plan::Fault,
};
use crate::link::{End, Reads, Wire};

/// Header of the 101 with the number of the upstream.
pub(crate) const UPSTREAM: &str = "x-upstream";

/// Path of the probes.
pub(crate) const HEALTH: &str = "/health";

const LATENCY: Duration = Duration::from_millis(2);

/// Time for which an upstream that stops waits for its clients' closes.
const CLOSES: Duration = Duration::from_secs(1);

/// Longest time for which an upstream that reads nothing more keeps its connection.
const STALL: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) number: usize,
    pub(super) wire: Arc<Wire>,
    ledger: Arc<Ledger>,
    mode: Mutex<Mode>,
    /// Not a `watch`, which wakes its receivers in an order that no seed decides.
    has_changed: Notify,
    /// Number of the run: a process that was killed or stopped is another one than the next.
    starts: Mutex<u32>,
    /// Connections that it has, those of probes included.
    connections: AtomicUsize,
}

/// A connection of an upstream, while it is counted.
struct Counted<'a>(&'a AtomicUsize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Works,
    Fails(Fault),
    /// Closes its tunnels with this code.
    Stops(u16),
}

impl Server {
    pub(crate) fn new(number: usize, reads: Reads, ledger: &Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self {
            number,
            wire: Wire::new(LATENCY, reads),
            ledger: Arc::clone(ledger),
            mode: Mutex::new(Mode::Works),
            has_changed: Notify::new(),
            starts: Mutex::new(0),
            connections: AtomicUsize::new(0),
        })
    }

    pub(crate) fn host(&self) -> String {
        format!("up-{}", self.number)
    }

    /// The name of the upstream in the pool.
    pub(crate) fn name(&self) -> String {
        format!("{}:80", self.host())
    }

    pub(crate) fn ip(&self) -> IpAddr {
        [10, 1, 0, self.number as u8].into()
    }

    pub(crate) fn kill(&self) {
        self.wire.refuse();
        self.wire.reset();
    }

    pub(crate) async fn stop(self: Arc<Self>, code: u16) {
        let before = self.starts();
        self.wire.refuse();
        self.set_mode(Mode::Stops(code));
        sleep(CLOSES).await;
        if self.starts() == before {
            self.wire.reset();
        }
    }

    pub(crate) fn start(&self) {
        *self.starts.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.set_mode(Mode::Works);
        self.wire.accept();
    }

    pub(crate) fn cut_off(&self) {
        self.wire.cut();
    }

    pub(crate) fn exhaust_ports(&self) {
        self.wire.exhaust_ports();
    }

    pub(crate) fn fail(&self, fault: Fault) {
        self.set_mode(Mode::Fails(fault));
    }

    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_mode(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
        self.has_changed.notify_waiters();
    }

    /// Waits for another mode than this one.
    async fn changed(&self, mode: Mode) {
        loop {
            let has_changed = self.has_changed.notified();
            if self.mode() != mode {
                return;
            }
            has_changed.await;
        }
    }

    fn starts(&self) -> u32 {
        *self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of connections that it has, those of probes included.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) async fn serve(self: Arc<Self>, mut end: End) {
        let _counted = Counted::new(&self.connections);
        match self.mode() {
            Mode::Fails(Fault::Refuses) => {
                let refusal = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";
                read_head(&mut end).await;
                let _ = end.write_all(refusal).await;
            }
            Mode::Fails(Fault::Garbage) => {
                read_head(&mut end).await;
                let _ = end.write_all(b"220 ready\r\n\r\n").await;
            }
            Mode::Fails(Fault::Hangs) => read_on(&mut end).await,
            _ => self.accept(end).await,
        }
    }

    async fn accept(&self, end: End) {
        let mut is_probe = false;
        let accepting = accept_hdr_async(
            end,
            #[allow(clippy::result_large_err)]
            |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
                is_probe = request.uri().path() == HEALTH;
                let number = HeaderValue::from(self.number);
                response.headers_mut().insert(UPSTREAM, number);
                Ok(response)
            },
        );
        let Ok(socket) = accepting.await else { return };
        let leg = Leg {
            socket,
            ledger: &self.ledger,
            number: self.ledger.next_leg(),
            pushes: 0,
            order: Order::default(),
            has_read: false,
        };
        leg.live(self, is_probe).await;
    }
}

/// One leg, from its handshake on.
struct Leg<'a> {
    socket: WebSocketStream<End>,
    ledger: &'a Ledger,
    number: u32,
    pushes: u32,
    order: Order,
    has_read: bool,
}

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Leg<'_> {
    async fn live(mut self, server: &Server, is_probe: bool) {
        let mut pushes_at = Instant::now() + pause();
        loop {
            let mode = server.mode();
            match mode {
                Mode::Fails(Fault::Truncates) if !is_probe => {
                    let start_of_frame = [0x82, 0x7e, 0x04, 0x00, 1, 2, 3];
                    let _ = self.socket.get_mut().write_all(&start_of_frame).await;
                    return;
                }
                Mode::Fails(Fault::Violates) if !is_probe => {
                    let _ = self.socket.get_mut().write_all(&[0x83, 0x01, 0x00]).await;
                    return read_on(self.socket.get_mut()).await;
                }
                Mode::Fails(Fault::Stalls) if !is_probe => {
                    let _ = timeout(STALL, server.changed(mode)).await;
                    return;
                }
                Mode::Stops(code) => return self.leave(code).await,
                Mode::Works | Mode::Fails(_) => {}
            }
            tokio::select! {
                biased;
                () = server.changed(mode) => {}
                frame = self.socket.next() => match frame {
                    Some(Ok(frame)) => if self.read(frame).await.is_err() { return },
                    Some(Err(error)) => return self.fail(&error).await,
                    None => return,
                },
                () = sleep_until(pushes_at), if !is_probe => {
                    self.pushes += 1;
                    let message = Message {
                        kind: Kind::Push,
                        stream: self.number,
                        number: self.pushes,
                        len: length(),
                    };
                    if self.socket.send(frame(message)).await.is_err() {
                        return;
                    }
                    pushes_at = Instant::now() + pause();
                }
            }
        }
    }

    async fn read(&mut self, received: Frame) -> Result<(), Error> {
        if !matches!(received, Frame::Binary(_) | Frame::Text(_)) {
            return Ok(());
        }
        match Message::decode(&received.into_data()) {
            Ok(message) => {
                self.ledger.arrived(message);
                self.check_order(message);
                let echo = Message {
                    kind: Kind::Echo,
                    ..message
                };
                self.socket.send(frame(echo)).await
            }
            Err(law) => {
                self.ledger.breach(format!("an upstream received {law}"));
                Ok(())
            }
        }
    }

    /// Checks that of one leg no message is missing; a tunnel may come to it after any.
    fn check_order(&mut self, message: Message) {
        match self.order.next(message) {
            Ok(Missing(0)) => {}
            Ok(Missing(_)) if !self.has_read => {}
            Ok(Missing(number)) => {
                let law = format!("{number} messages are missing before {message}");
                self.ledger.breach(law);
            }
            Err(law) => self.ledger.breach(law),
        }
        self.has_read = true;
    }

    async fn leave(mut self, code: u16) {
        let close = CloseFrame {
            code: CloseCode::from(code),
            reason: "".into(),
        };
        let answer = async {
            self.socket.close(Some(close)).await?;
            while let Some(frame) = self.socket.next().await {
                self.read(frame?).await?;
            }
            Ok::<_, Error>(())
        };
        let _ = timeout(CLOSES, answer).await;
    }

    /// Ends after an error; a breach of the protocol is closed with 1002 (RFC 6455 §7.1.7).
    async fn fail(mut self, error: &Error) {
        self.ledger.check("an upstream", error);
        if matches!(error, Error::Protocol(_)) {
            let end = self.socket.get_mut();
            if end.write_all(&[0x88, 0x02, 0x03, 0xea]).await.is_ok() {
                let _ = timeout(CLOSES, read_on(end)).await;
            }
        }
    }
}

pub(crate) fn frame(message: Message) -> Frame {
    Frame::Binary(message.encode().into())
}

/// Mostly a short message, and now and then one that takes several reads.
pub(crate) fn length() -> u32 {
    match fastrand::u8(0..20) {
        0 => fastrand::u32(1_000..100_000),
        _ => fastrand::u32(0..200),
    }
}

fn pause() -> Duration {
    Duration::from_millis(fastrand::u64(100..6_000))
}

async fn read_head(end: &mut End) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(end.read_buf(&mut head).await, Ok(1..)) {
            return;
        }
    }
}

/// Reads to the end.
pub(crate) async fn read_on(end: &mut End) {
    let mut sink = [0; 4096];
    while matches!(end.read(&mut sink).await, Ok(1..)) {}
}
