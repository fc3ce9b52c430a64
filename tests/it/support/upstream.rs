//! An upstream that follows a script and keeps a log.

use std::any::Any;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tungstenite::handshake::derive_accept_key;

use super::deadline::within;
use super::head::Head;
use super::wire::Wire;

/// A listener on a port of its own that runs a script for every connection.
///
/// Dropping it ends the listener and all scripts. It panics then if a script has panicked, so that
/// an expectation that fails inside a script fails the test.
pub(crate) struct RawUpstream {
    addr: SocketAddr,
    log: watch::Sender<Log>,
    _tasks: JoinSet<()>,
}

/// Log of an upstream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// Connections accepted.
    pub(crate) accepted: usize,
    /// Connections whose script has ended, which closed them.
    pub(crate) ended: usize,
    /// The request heads that scripts have read, over all connections.
    pub(crate) heads: Vec<Head>,
    /// Bytes that scripts have read beyond a connection's first request head.
    pub(crate) after_head: usize,
    /// Panic messages of the scripts.
    failures: Vec<String>,
}

impl RawUpstream {
    /// Listens on `127.0.0.1` and hands each connection to `script`.
    pub(crate) async fn start<S, F>(script: S) -> Self
    where
        S: Fn(RawConn) -> F + Send + 'static,
        F: Future + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let log = watch::Sender::new(Log::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, script, log.clone()));
        Self {
            addr,
            log,
            _tasks: tasks,
        }
    }

    /// The address of the listener.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL of the listener, with `ws://`.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.addr)
    }

    /// The log so far.
    pub(crate) fn log(&self) -> Log {
        self.log.borrow().clone()
    }

    /// Empties the log.
    #[allow(dead_code, reason = "not every binary with this kit needs it")]
    pub(crate) fn forget(&self) {
        self.log.send_modify(|log| *log = Log::default());
    }

    /// Waits until the log fulfils `condition`, and returns that log.
    pub(crate) async fn wait_for(
        &self,
        what: &str,
        mut condition: impl FnMut(&Log) -> bool,
    ) -> Log {
        let mut log = self.log.subscribe();
        let seen = within(what, log.wait_for(|log| condition(log))).await;
        seen.expect("the log lives as long as the upstream").clone()
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        let failures = self.log().failures;
        if !failures.is_empty() && !std::thread::panicking() {
            panic!("the upstream's script failed: {}", failures.join("; "));
        }
    }
}

/// The upstream's end of a connection; see [`Wire`] for its methods beyond handshakes.
pub(crate) struct RawConn {
    wire: Wire,
    log: watch::Sender<Log>,
}

impl RawConn {
    /// Reads a request head and enters it in the log.
    pub(crate) async fn read_request_head(&mut self) -> Head {
        match self.try_read_request_head().await {
            Some(head) => head,
            None => panic!("the connection ended before a request"),
        }
    }

    /// Reads a request head and enters it in the log; `None` when the connection ends before.
    pub(crate) async fn try_read_request_head(&mut self) -> Option<Head> {
        let head = self.wire.try_read_head().await.ok()??;
        self.log.send_modify(|log| log.heads.push(head.clone()));
        let log = self.log.clone();
        self.wire
            .set_meter(move |count| log.send_modify(|log| log.after_head += count));
        Some(head)
    }

    /// Accepts the handshake in `head` (RFC 6455 §4.2.2), with further headers.
    pub(crate) async fn accept_101(&mut self, head: &Head, extra: &[(&str, &str)]) {
        self.send(&switching_protocols(head, extra)).await;
    }

    /// Drops the connection so that the other side sees a reset.
    pub(crate) fn reset(self) {
        self.wire.reset();
    }
}

impl Deref for RawConn {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for RawConn {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

/// The 101 that accepts the handshake in `head`, with further headers.
///
/// # Panics
///
/// When `head` has no `Sec-WebSocket-Key`.
pub(crate) fn switching_protocols(head: &Head, extra: &[(&str, &str)]) -> Vec<u8> {
    let Some(key) = head.get("sec-websocket-key") else {
        panic!("expected a Sec-WebSocket-Key in {head:?}");
    };
    switching_protocols_with(&derive_accept_key(key.as_bytes()), extra)
}

/// A 101 with the `Sec-WebSocket-Accept` that the caller wants, right or wrong.
pub(crate) fn switching_protocols_with(accept: &str, extra: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!(
        "HTTP/1.1 101 Switching Protocols\r\n\
         Connection: Upgrade\r\n\
         Upgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n"
    );
    for (name, value) in extra {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    text.into_bytes()
}

/// An address without a listener.
pub(crate) async fn closed_addr() -> SocketAddr {
    // An address of its own, where available, or another test might take the port.
    let listener = match TcpListener::bind("127.0.0.77:0").await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind("127.0.0.1:0").await.expect("a free port"),
    };
    listener.local_addr().expect("an address")
}

async fn accept<S, F>(listener: TcpListener, script: S, log: watch::Sender<Log>)
where
    S: Fn(RawConn) -> F,
    F: Future + Send + 'static,
{
    let mut scripts = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        log.send_modify(|log| log.accepted += 1);
        let conn = conn(stream, &log);
        scripts.spawn(run(script(conn), log.clone()));
        while scripts.try_join_next().is_some() {}
    }
}

fn conn(stream: TcpStream, log: &watch::Sender<Log>) -> RawConn {
    RawConn {
        wire: Wire::new(stream),
        log: log.clone(),
    }
}

async fn run(script: impl Future, log: watch::Sender<Log>) {
    let outcome = AssertUnwindSafe(script).catch_unwind().await;
    log.send_modify(|log| {
        log.ended += 1;
        if let Err(panic) = outcome {
            log.failures.push(words(panic.as_ref()));
        }
    });
}

fn words(panic: &(dyn Any + Send)) -> String {
    let fixed = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    fixed
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}
