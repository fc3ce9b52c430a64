//! An upstream that speaks HTTP/2 and hands every request to the test.

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::{Bytes, BytesMut};
use h2::{
    Reason, RecvStream, SendStream,
    server::{self, Builder, SendResponse},
};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
};
use wsplice::{Upstream, connect::HttpVersion};

use super::deadline::within;

/// Accepts connections over HTTP/2, without TLS.
pub(crate) struct H2Upstream {
    addr: SocketAddr,
    requests: mpsc::UnboundedReceiver<ReceivedRequest>,
    log: watch::Sender<Log>,
    commands: Arc<Mutex<Vec<mpsc::UnboundedSender<Command>>>>,
    _tasks: JoinSet<()>,
}

/// Numbers of connections.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Log {
    pub(crate) accepted: usize,
    pub(crate) ended: usize,
    /// Connections that were ordered to go away, and have begun to.
    pub(crate) leaving: usize,
}

/// Command to a connection.
#[derive(Debug)]
enum Command {
    GoAway,
    Break,
}

/// A request, and the means to respond to it.
pub(crate) struct ReceivedRequest {
    /// The number of its connection, from 0.
    pub(crate) connection: usize,
    pub(crate) request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
}

/// The upstream's end of a tunnel.
pub(crate) struct StreamEnd {
    pub(crate) receiving: RecvStream,
    pub(crate) sending: SendStream<Bytes>,
    ahead: BytesMut,
}

/// The settings of HTTP/2 servers for WebSockets.
pub(crate) fn extended() -> Builder {
    let mut builder = Builder::new();
    builder.enable_connect_protocol();
    builder
}

impl H2Upstream {
    pub(crate) async fn start() -> Self {
        Self::with(extended()).await
    }

    pub(crate) async fn with(builder: Builder) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (sender, requests) = mpsc::unbounded_channel();
        let log = watch::Sender::new(Log::default());
        let commands = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let (log_there, commands_there) = (log.clone(), Arc::clone(&commands));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (command, commands) = mpsc::unbounded_channel();
                commands_there.lock().expect("commands").push(command);
                log_there.send_modify(|log| log.accepted += 1);
                let log = log_there.clone();
                let leave = {
                    let log = log.clone();
                    move || log.send_modify(|log| log.leaving += 1)
                };
                let (builder, sender) = (builder.clone(), sender.clone());
                let serving = serve(builder, stream, number, sender, commands, leave);
                connections.spawn(async move {
                    serving.await;
                    log.send_modify(|log| log.ended += 1);
                });
            }
        });
        Self {
            addr,
            requests,
            log,
            commands,
            _tasks: tasks,
        }
    }

    /// Its address, to be spoken to in HTTP/2.
    pub(crate) fn upstream(&self) -> Upstream {
        let upstream = Upstream::new(&format!("ws://{}", self.addr)).expect("an upstream");
        upstream.http_version(HttpVersion::Http2)
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> ReceivedRequest {
        let request = within("a request over HTTP/2", self.requests.recv()).await;
        request.expect("the listener lives")
    }

    /// Announces the end of a connection, in front of all that is sent on it from here on.
    pub(crate) async fn go_away(&self, connection: usize) {
        let leaving = self.log().leaving;
        self.command(connection, Command::GoAway);
        self.wait_for("a GOAWAY", |log| log.leaving > leaving).await;
    }

    /// Drops a connection at once.
    pub(crate) fn break_off(&self, connection: usize) {
        self.command(connection, Command::Break);
    }

    pub(crate) fn log(&self) -> Log {
        *self.log.borrow()
    }

    pub(crate) async fn wait_for(&self, what: &str, mut condition: impl FnMut(&Log) -> bool) {
        let mut log = self.log.subscribe();
        let seen = within(what, log.wait_for(|log| condition(log))).await;
        seen.expect("the log lives as long as the upstream");
    }

    fn command(&self, connection: usize, command: Command) {
        let commands = self.commands.lock().expect("commands");
        commands[connection].send(command).expect("a connection");
    }
}

async fn serve(
    builder: Builder,
    stream: TcpStream,
    number: usize,
    sender: mpsc::UnboundedSender<ReceivedRequest>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    leaving: impl Fn(),
) {
    let Ok(mut connection): Result<server::Connection<_, Bytes>, _> =
        builder.handshake(stream).await
    else {
        return;
    };
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::GoAway) => {
                    connection.graceful_shutdown();
                    leaving();
                }
                Some(Command::Break) | None => return,
            },
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let _ = sender.send(ReceivedRequest { connection: number, request, respond });
                }
                Some(Err(_)) | None => return,
            },
        }
    }
}

impl ReceivedRequest {
    /// Opens the tunnel, with these headers.
    pub(crate) fn accept(mut self, headers: &[(&'static str, &str)]) -> StreamEnd {
        let mut response = Response::new(());
        for (name, value) in headers {
            response
                .headers_mut()
                .append(*name, value.parse().expect("a header"));
        }
        let sending = self
            .respond
            .send_response(response, false)
            .expect("an open stream");
        StreamEnd {
            receiving: self.request.into_body(),
            sending,
            ahead: BytesMut::new(),
        }
    }

    /// Refuses, with a body and trailers.
    pub(crate) fn refuse(mut self, status: u16, body: &'static str, trailers: Option<HeaderMap>) {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        response
            .headers_mut()
            .insert("x-why", "because".parse().expect("a header"));
        let mut sending = self
            .respond
            .send_response(response, false)
            .expect("an open stream");
        let is_last = trailers.is_none();
        sending
            .send_data(Bytes::from_static(body.as_bytes()), is_last)
            .expect("an open stream");
        if let Some(trailers) = trailers {
            sending.send_trailers(trailers).expect("an open stream");
        }
    }

    /// Resets the stream without a response.
    pub(crate) fn reset(mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }
}

impl StreamEnd {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        within("a window to send in", self.try_send(bytes))
            .await
            .expect("an open stream");
    }

    /// Sends, if it is possible, within the windows.
    pub(crate) async fn try_send(&mut self, mut bytes: &[u8]) -> Result<(), h2::Error> {
        while !bytes.is_empty() {
            self.sending.reserve_capacity(bytes.len());
            if self.sending.capacity() == 0 {
                match poll_fn(|cx| self.sending.poll_capacity(cx)).await {
                    Some(capacity) => capacity?,
                    None => return Err(Reason::STREAM_CLOSED.into()),
                };
            }
            let (now, rest) = bytes.split_at(self.sending.capacity().min(bytes.len()));
            self.sending.send_data(Bytes::copy_from_slice(now), false)?;
            bytes = rest;
        }
        Ok(())
    }

    pub(crate) async fn read_exact(&mut self, len: usize) -> Bytes {
        while self.ahead.len() < len {
            match within("data", self.receiving.data()).await {
                Some(Ok(data)) => self.take(&data),
                Some(Err(error)) => panic!("the stream failed: {error}"),
                None => panic!("the stream ended; {} of {len} bytes came", self.ahead.len()),
            }
        }
        self.ahead.split_to(len).freeze()
    }

    /// Waits for the end of the received stream, which must be an orderly one.
    pub(crate) async fn expect_end(&mut self) {
        assert!(self.ahead.is_empty());
        loop {
            match within("the end of the stream", self.receiving.data()).await {
                None => return,
                // The end may have a frame of its own.
                Some(Ok(data)) => assert!(data.is_empty(), "{data:?}"),
                Some(Err(error)) => panic!("the stream failed: {error}"),
            }
        }
    }

    /// Waits for the end of the received stream. Behind it, the reset of a stream that this side has
    /// not ended may come at once (RFC 9113 §8.1), and the end is not seen any more.
    pub(crate) async fn expect_end_or_cancel(&mut self) {
        assert!(self.ahead.is_empty());
        loop {
            match within("the end of the stream", self.receiving.data()).await {
                None => return,
                Some(Ok(data)) => assert!(data.is_empty(), "{data:?}"),
                Some(Err(error)) => {
                    assert_eq!(error.reason(), Some(Reason::CANCEL), "{error}");
                    return;
                }
            }
        }
    }

    /// Waits for the reset of the stream, and returns the reason.
    pub(crate) async fn expect_reset(&mut self) -> Reason {
        let reset = poll_fn(|cx| self.sending.poll_reset(cx));
        within("a reset", reset).await.expect("a reset")
    }

    /// Ends the sent stream.
    pub(crate) fn finish(&mut self) {
        self.sending
            .send_data(Bytes::new(), true)
            .expect("an open stream");
    }

    fn take(&mut self, data: &[u8]) {
        self.ahead.extend_from_slice(data);
        let released = self.receiving.flow_control().release_capacity(data.len());
        released.expect("what was received");
    }
}
