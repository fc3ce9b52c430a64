//! In-memory upstreams that follow a script.

use std::{
    fmt,
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::{
    frame::{ControlFrame, FrameHeader, OpCode, mask},
    net::connect::{Address, Connect, ConnectFuture},
    net::transport::Transport,
    upstream::health::{
        HealthEvent, HealthEventKind,
        probe::{Probe, ProbeFailure, ProbeTarget, check},
    },
};

pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// Connector to an upstream that runs the script for each connection.
pub(crate) struct Scripted {
    start: Box<dyn Fn(UpstreamEnd) + Send + Sync>,
    pub(crate) connections: AtomicUsize,
}

impl Scripted {
    pub(crate) fn new<F, Fut>(script: F) -> Arc<Self>
    where
        F: Fn(UpstreamEnd) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let start = move |far| {
            tokio::spawn(script(far));
        };
        Arc::new(Self {
            start: Box::new(start),
            connections: AtomicUsize::new(0),
        })
    }

    /// Creates an upstream that sends these bytes after each request, and ends the connection.
    pub(crate) fn responding(response: &'static str) -> Arc<Self> {
        Self::new(move |mut far| async move {
            far.request().await;
            far.write(response.as_bytes()).await;
        })
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").finish_non_exhaustive()
    }
}

impl Connect for Scripted {
    fn connect<'a>(&'a self, _address: &'a Address) -> ConnectFuture<'a> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let (near, far) = tokio::io::duplex(64);
        (self.start)(UpstreamEnd(far));
        Box::pin(async { Ok(Transport::new(near)) })
    }
}

/// Connector that fails every connect.
#[derive(Debug)]
pub(crate) struct Refusing(pub(super) io::ErrorKind);

impl Connect for Refusing {
    fn connect<'a>(&'a self, _address: &'a Address) -> ConnectFuture<'a> {
        Box::pin(async { Err(self.0.into()) })
    }
}

/// Upstream's end of a connection.
pub(crate) struct UpstreamEnd(DuplexStream);

impl UpstreamEnd {
    /// Reads the head of the request; empty if the connection ends before.
    pub(crate) async fn request(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.0.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return String::new(),
            }
        }
        String::from_utf8(head).unwrap()
    }

    /// Accepts a handshake, with additional header lines.
    pub(crate) async fn accept(&mut self, lines: &str) -> String {
        let request = self.request().await;
        self.accept_this(&request, lines).await;
        request
    }

    /// Accepts the handshake that was read.
    pub(crate) async fn accept_this(&mut self, request: &str, lines: &str) {
        let key = header(request, "sec-websocket-key").unwrap();
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
        );
        self.write(response.as_bytes()).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        // The probe may have disconnected.
        let _ = self.0.write_all(bytes).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        let header = FrameHeader::new(OpCode::TEXT, text.len() as u64).unwrap();
        self.write(&header.encode()).await;
        self.write(text.as_bytes()).await;
    }

    /// Reads the next frame, which must be masked; `None` at the end.
    pub(crate) async fn frame(&mut self) -> Option<(OpCode, Vec<u8>)> {
        let mut bytes = Vec::new();
        let header = loop {
            bytes.push(self.0.read_u8().await.ok()?);
            if let Some(header) = FrameHeader::parse(&bytes).unwrap() {
                break header;
            }
        };
        let mut payload = vec![0; header.payload_len() as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        mask::apply(&mut payload, header.mask().unwrap(), 0);
        Some((header.opcode(), payload))
    }

    /// Answers pings and the close with pong and close until the end, and returns all frames.
    pub(crate) async fn respond_normally(&mut self) -> Vec<(OpCode, Vec<u8>)> {
        let mut seen = Vec::new();
        while let Some((opcode, payload)) = self.frame().await {
            match opcode {
                OpCode::PING => self.control(OpCode::PONG, &payload).await,
                OpCode::CLOSE => self.control(OpCode::CLOSE, &payload).await,
                _ => {}
            }
            seen.push((opcode, payload));
        }
        seen
    }

    pub(crate) async fn control(&mut self, opcode: OpCode, payload: &[u8]) {
        let frame = ControlFrame::new(opcode, payload).unwrap();
        self.write(&frame.encode(None)).await;
    }

    pub(crate) async fn hang(self) {
        std::future::pending::<()>().await;
    }
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

pub(crate) async fn event(probe: &dyn Probe, connector: Arc<dyn Connect>) -> HealthEvent {
    let target = ProbeTarget::new(Address::tcp("upstream", 8080), connector);
    check(probe, &target, LIMIT).await
}

/// Returns the result of the probe, with the failure as text.
pub(crate) async fn outcome(probe: &dyn Probe, connector: Arc<dyn Connect>) -> Result<(), String> {
    match event(probe, connector).await.kind {
        HealthEventKind::ProbePassed { .. } => Ok(()),
        HealthEventKind::ProbeFailed { reason } => Err(format!("{reason:#}")),
        other => panic!("no outcome of a probe: {other:?}"),
    }
}

pub(crate) async fn failure(probe: &dyn Probe, connector: Arc<dyn Connect>) -> ProbeFailure {
    match event(probe, connector).await.kind {
        HealthEventKind::ProbeFailed { reason } => reason,
        other => panic!("not failed but {other:?}"),
    }
}
