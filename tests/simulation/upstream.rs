//! An upstream: a server that echoes, and its faults.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};
use tungstenite::handshake::derive_accept_key;
use wsplice::{
    connect::{Address, Connect, ConnectFuture, Resolve, Transport},
    discovery::DnsResolver,
    frame::CloseCode,
};

use super::{
    link::{End, Reads, Wire},
    websocket::{Frame, WebSocket, header},
};

/// Latency of one direction between a proxy and an upstream.
const LATENCY: Duration = Duration::from_millis(1);

/// Time of a handshake at an upstream, which does one after the other.
const HANDSHAKE: Duration = Duration::from_millis(10);

/// Time for which an upstream that stops waits for its clients' closes.
const CLOSES: Duration = Duration::from_secs(1);

/// The name of the upstreams' SRV records.
pub(crate) const SERVICE: &str = "_ws._tcp.chat.test.";

/// The path of the probes.
pub(crate) const HEALTH: &str = "/health";

/// The path of requests that every upstream dies of, as far as their connection is concerned.
pub(crate) const POISON: &str = "/poison";

/// The header of the 101 that names the upstream.
pub(crate) const ANSWERED_BY: &str = "x-upstream";

#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) number: usize,
    pub(crate) weight: u32,
    wire: Arc<Wire>,
    state: Mutex<State>,
    stop: Notify,
}

#[derive(Debug)]
struct State {
    is_stopping: bool,
    fault: Fault,
    busy_until: Instant,
    /// When clients' handshakes came.
    handshakes: Vec<Instant>,
    /// Times when the upstream was not up: from, to.
    outages: Vec<(Instant, Option<Instant>)>,
}

/// A fault of an upstream in new handshakes; the tunnels that it has go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Probes pass, and clients get a 502.
    Deceives,
    /// Connections are accepted, and no handshake gets a response.
    Hangs,
}

/// The way from a proxy to the upstreams.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    upstreams: Arc<HashMap<String, Arc<Upstream>>>,
    /// Resolver of the upstreams' names, if they are looked up.
    resolver: Option<DnsResolver>,
}

impl Upstream {
    pub(crate) fn new(number: usize, weight: u32) -> Arc<Self> {
        Arc::new(Self {
            number,
            weight,
            wire: Wire::new(LATENCY, Reads::Whole),
            state: Mutex::new(State {
                is_stopping: false,
                fault: Fault::None,
                busy_until: Instant::now(),
                handshakes: Vec::new(),
                outages: Vec::new(),
            }),
            stop: Notify::new(),
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.name())
    }

    /// The name of the upstream in the pool.
    pub(crate) fn name(&self) -> String {
        format!("{}:80", self.host())
    }

    pub(crate) fn host(&self) -> String {
        format!("up-{}", self.number)
    }

    pub(crate) fn ip(&self) -> IpAddr {
        Ipv4Addr::new(10, 1, 0, self.number as u8).into()
    }

    /// Ends as a process does that is killed: every connection is reset, new ones are refused.
    pub(crate) fn kill(&self) {
        self.note_down();
        self.wire.refuse();
        self.wire.reset();
    }

    /// Starts or restarts the upstream, with no connections.
    pub(crate) fn start(&self) {
        self.lock().is_stopping = false;
        self.wire.accept();
        self.note_up();
    }

    /// Ends in good order: refuses new connections, closes every WebSocket with 1012.
    pub(crate) async fn stop(&self) {
        self.note_down();
        self.lock().is_stopping = true;
        self.wire.refuse();
        self.stop.notify_waiters();
        sleep(CLOSES).await;
        self.wire.reset();
    }

    /// Cuts the upstream off from the proxies: nothing arrives any more, and no end is seen.
    pub(crate) fn cut_off(&self) {
        self.note_down();
        self.wire.cut();
    }

    /// Is reached again.
    pub(crate) fn reconnect(&self) {
        self.wire.accept();
        self.note_up();
    }

    /// Fails new handshakes from now on.
    pub(crate) fn fail(&self, fault: Fault) {
        self.note_down();
        self.lock().fault = fault;
    }

    /// Accepts handshakes again.
    pub(crate) fn recover(&self) {
        self.lock().fault = Fault::None;
        self.note_up();
    }

    /// Can be reached from no proxy by a new connection, for want of ports there.
    pub(crate) fn exhaust_ports(&self) {
        self.wire.exhaust_ports();
    }

    /// Can be reached by new connections again.
    pub(crate) fn free_ports(&self) {
        self.wire.accept();
    }

    pub(crate) fn is_up(&self) -> bool {
        let state = self.lock();
        state.outages.last().is_none_or(|(_, to)| to.is_some())
    }

    /// Whether the upstream was up at that instant, and had been for this long.
    pub(crate) fn was_up(&self, at: Instant, since: Duration) -> bool {
        let state = self.lock();
        let touches = |(from, to): &(Instant, Option<Instant>)| {
            *from <= at && to.is_none_or(|to| at < to + since)
        };
        !state.outages.iter().any(touches)
    }

    /// The instant when connections of that time could no longer go on as before; `None` if they
    /// could all the while.
    pub(crate) fn failed_since(&self, connected: Instant) -> Option<Instant> {
        let state = self.lock();
        let fails = |(from, to): &&(Instant, Option<Instant>)| {
            *from >= connected || to.is_none_or(|to| to >= connected)
        };
        state.outages.iter().find(fails).map(|(from, _)| *from)
    }

    /// When clients' handshakes came since.
    pub(crate) fn handshakes_since(&self, since: Instant) -> Vec<Instant> {
        let state = self.lock();
        let from = state.handshakes.partition_point(|at| *at < since);
        state.handshakes[from..].to_vec()
    }

    fn note_down(&self) {
        self.lock().outages.push((Instant::now(), None));
    }

    fn note_up(&self) {
        if let Some((_, to)) = self.lock().outages.last_mut() {
            *to = Some(Instant::now());
        }
    }

    async fn serve(self: Arc<Self>, end: End) {
        // The end of a connection is judged by the other side.
        let _ = self.converse(WebSocket::server(end)).await;
    }

    async fn converse(&self, mut socket: WebSocket) -> io::Result<()> {
        let request = socket.head().await?;
        if is_for(&request, POISON) {
            return Ok(());
        }
        self.work(&request).await;
        let fault = self.lock().fault;
        match fault {
            Fault::Deceives if !is_for(&request, HEALTH) => {
                let refusal = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";
                return socket.write(refusal).await;
            }
            Fault::Hangs => {
                while socket.next().await?.is_some() {}
                return Ok(());
            }
            Fault::None | Fault::Deceives => {}
        }
        let key = header(&request, "sec-websocket-key").ok_or(io::ErrorKind::InvalidData)?;
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {}\r\n{ANSWERED_BY}: {}\r\n\r\n",
            derive_accept_key(key.as_bytes()),
            self.number,
        );
        socket.write(answer.as_bytes()).await?;
        loop {
            let stop = self.stop.notified();
            if self.lock().is_stopping {
                return self.take_leave(&mut socket).await;
            }
            tokio::select! {
                biased;
                frame = socket.next() => match frame? {
                    Some(Frame::Data(payload)) => socket.send(&payload).await?,
                    Some(Frame::Ping(ping)) => {
                        if let Some(pong) = ping.answer() {
                            socket.control(&pong).await?;
                        }
                    }
                    Some(Frame::Pong) => {}
                    Some(Frame::Close(code)) => {
                        socket.close(code.unwrap_or(CloseCode::NORMAL)).await?;
                        socket.shutdown().await;
                        return Ok(());
                    }
                    None => return Ok(()),
                },
                () = stop => {}
            }
        }
    }

    /// Waits for its turn, and works.
    async fn work(&self, request: &str) {
        let now = Instant::now();
        let done = {
            let mut state = self.lock();
            if !is_for(request, HEALTH) {
                state.handshakes.push(now);
            }
            state.busy_until = state.busy_until.max(now) + HANDSHAKE;
            state.busy_until
        };
        sleep_until(done).await;
    }

    async fn take_leave(&self, socket: &mut WebSocket) -> io::Result<()> {
        socket.close(CloseCode::SERVICE_RESTART).await?;
        let answer = async {
            while let Some(frame) = socket.next().await? {
                if matches!(frame, Frame::Close(_)) {
                    break;
                }
            }
            io::Result::Ok(())
        };
        let _ = timeout(CLOSES, answer).await;
        socket.shutdown().await;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_for(request: &str, path: &str) -> bool {
    request.starts_with(&format!("GET {path} "))
}

impl Network {
    pub(crate) fn to(upstreams: &[Arc<Upstream>]) -> Self {
        let named = upstreams.iter().flat_map(|upstream| {
            let names = [upstream.name(), format!("{}:80", upstream.ip())];
            names.map(|name| (name, Arc::clone(upstream)))
        });
        Self {
            upstreams: Arc::new(named.collect()),
            resolver: None,
        }
    }

    /// Looks the upstreams' names up for each connect.
    pub(crate) fn resolving(self, resolver: DnsResolver) -> Self {
        Self {
            resolver: Some(resolver),
            ..self
        }
    }

    async fn resolved(&self, address: &Address) -> io::Result<String> {
        match (&self.resolver, address) {
            (Some(resolver), Address::Tcp { host, port, .. }) => {
                let found = resolver.resolve(host, *port).await?;
                let found = found.first().ok_or(io::ErrorKind::NotFound)?;
                Ok(found.to_string())
            }
            _ => Ok(address.to_string()),
        }
    }
}

impl Connect for Network {
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a> {
        Box::pin(async move {
            let upstream = self
                .upstreams
                .get(&self.resolved(address).await?)
                .ok_or(io::ErrorKind::NotFound)?;
            let (near, far) = upstream.wire.connect().await?;
            tokio::spawn(Arc::clone(upstream).serve(far));
            Ok(Transport::new(near))
        })
    }
}
