//! A client, in one life after another.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, Version};
use http_body_util::Empty;
use hyper::{body::Bytes, client::conn::http2, ext::Protocol};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::{WebSocketStream, client_async};
use tungstenite::{
    Error, Message,
    protocol::{Role, frame::coding::CloseCode},
};

use crate::{
    ledger::Ledger,
    patience::within,
    plan::{End, Kind, Plan, payload},
    proxy::Target,
    support::raw::HOST,
    upstream,
};

/// Time for each step. A client that waits longer has found a fault.
const STEP: Duration = Duration::from_secs(120);

pub(crate) struct Client {
    pub(crate) kind: Kind,
    pub(crate) target: Target,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) stopped: watch::Receiver<bool>,
}

/// A connection of any kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Has the connection be reset once it is dropped, where that can be had.
    fn reset_on_drop(&self) {}
}

impl Stream for TcpStream {
    fn reset_on_drop(&self) {
        let _ = self.set_zero_linger();
    }
}

impl Stream for tokio_rustls::client::TlsStream<TcpStream> {
    fn reset_on_drop(&self) {
        self.get_ref().0.reset_on_drop();
    }
}

impl Stream for TokioIo<hyper::upgrade::Upgraded> {}

type Socket = WebSocketStream<Box<dyn Stream>>;

/// An open tunnel, and the task of its HTTP/2 connection.
struct Tunnel {
    socket: Socket,
    _connection: JoinSet<()>,
}

impl Client {
    pub(crate) async fn live(self) {
        while !*self.stopped.borrow() {
            let plan = Plan::random();
            match within(10 * STEP, self.life(plan)).await {
                Some(Ok(())) => self.ledger.ended(plan.end),
                Some(Err(fault)) => self.fault(plan, &fault),
                None => self.fault(plan, "a life without an end"),
            }
        }
    }

    fn fault(&self, plan: Plan, fault: &str) {
        self.ledger
            .fault(format!("{:?}, {:?}: {fault}", self.kind, plan.end));
    }

    async fn life(&self, plan: Plan) -> Result<(), String> {
        let Some(mut tunnel) = self.open(plan.end).await? else {
            return Ok(());
        };
        self.ledger.accepted();
        for _ in 0..plan.messages {
            if self.pause(plan.pause).await {
                break;
            }
            let message = Message::binary(payload());
            send(&mut tunnel.socket, message.clone()).await?;
            let echo = receive(&mut tunnel.socket).await?;
            if echo.as_ref() != Some(&message) {
                return Err("another message than was sent".to_owned());
            }
            self.ledger.echoed(message.len());
        }
        end(tunnel.socket, plan.end).await
    }

    /// Waits, and returns whether all clients should stop.
    async fn pause(&self, mean: Duration) -> bool {
        let mut stopped = self.stopped.clone();
        let pause = mean.mul_f32(2.0 * fastrand::f32());
        let stop = stopped.wait_for(|stopped| *stopped);
        matches!(tokio::time::timeout(pause, stop).await, Ok(Ok(_)))
    }

    /// Opens a tunnel; `None` where the upstream refuses it, as planned.
    async fn open(&self, end: End) -> Result<Option<Tunnel>, String> {
        let opening = async {
            match self.kind {
                Kind::Tcp => self.open_http1(self.tcp().await?, end).await,
                Kind::Tls => self.open_http1(self.tls().await?, end).await,
                Kind::Http2 => self.open_http2(end).await,
            }
        };
        let opened = within(STEP, opening).await;
        opened.ok_or("no response to the handshake")?
    }

    async fn tcp(&self) -> Result<Box<dyn Stream>, String> {
        let stream = TcpStream::connect(self.target.plain).await;
        Ok(Box::new(stream.map_err(|error| fault("connect", &error))?))
    }

    async fn tls(&self) -> Result<Box<dyn Stream>, String> {
        let stream = TcpStream::connect(self.target.tls).await;
        let stream = stream.map_err(|error| fault("connect", &error))?;
        let name = ServerName::try_from(HOST).unwrap();
        let stream = self.target.connector.connect(name, stream).await;
        Ok(Box::new(stream.map_err(|error| fault("TLS", &error))?))
    }

    async fn open_http1(
        &self,
        stream: Box<dyn Stream>,
        end: End,
    ) -> Result<Option<Tunnel>, String> {
        match client_async(format!("ws://{HOST}{}", end.path()), stream).await {
            Ok((socket, _)) if end != End::Refused => Ok(Some(Tunnel {
                socket,
                _connection: JoinSet::new(),
            })),
            Err(Error::Http(response)) if end == End::Refused && response.status() == 403 => {
                Ok(None)
            }
            Ok(_) => Err("accepted in place of refused".to_owned()),
            Err(error) => Err(fault("handshake", &error)),
        }
    }

    async fn open_http2(&self, end: End) -> Result<Option<Tunnel>, String> {
        let stream = TcpStream::connect(self.target.plain).await;
        let stream = TokioIo::new(stream.map_err(|error| fault("connect", &error))?);
        let (mut sender, driver) = http2::handshake(TokioExecutor::new(), stream)
            .await
            .map_err(|error| fault("HTTP/2", &error))?;
        let mut connection = JoinSet::new();
        connection.spawn(async {
            let _ = driver.await;
        });
        let response = sender.send_request(extended_connect(end.path())).await;
        let response = response.map_err(|error| fault("handshake", &error))?;
        match response.status().as_u16() {
            403 if end == End::Refused => return Ok(None),
            200 if end != End::Refused => {}
            status => return Err(format!("status {status}")),
        }
        let upgraded = hyper::upgrade::on(response).await;
        let upgraded = upgraded.map_err(|error| fault("upgrade", &error))?;
        let stream: Box<dyn Stream> = Box::new(TokioIo::new(upgraded));
        Ok(Some(Tunnel {
            socket: WebSocketStream::from_raw_socket(stream, Role::Client, None).await,
            _connection: connection,
        }))
    }
}

/// An extended CONNECT (RFC 8441 §5).
fn extended_connect(path: &str) -> Request<Empty<Bytes>> {
    Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri(format!("http://{HOST}{path}"))
        .header("sec-websocket-version", "13")
        .extension(Protocol::from_static("websocket"))
        .body(Empty::new())
        .unwrap()
}

/// Describes an error with all of its causes.
fn fault(step: &str, error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.fold(step.to_owned(), |text, cause| format!("{text}: {cause}"))
}

async fn send(socket: &mut Socket, message: Message) -> Result<(), String> {
    match within(STEP, socket.send(message)).await {
        Some(sent) => sent.map_err(|error| fault("sending", &error)),
        None => Err("a message that is not taken".to_owned()),
    }
}

/// Receives a message; `None` after a close or the loss of the connection.
async fn receive(socket: &mut Socket) -> Result<Option<Message>, String> {
    loop {
        match within(STEP, socket.next()).await {
            Some(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Some(Some(Ok(Message::Close(_)) | Err(_)) | None) => return Ok(None),
            Some(Some(Ok(message))) => return Ok(Some(message)),
            None => return Err("no message".to_owned()),
        }
    }
}

async fn end(mut socket: Socket, end: End) -> Result<(), String> {
    match end {
        End::Refused => Err("accepted in place of refused".to_owned()),
        End::Reset => {
            socket.get_ref().reset_on_drop();
            Ok(())
        }
        End::CutInside => {
            // A masked binary frame of 100 bytes, of which few come (RFC 6455 §5.2).
            write(&mut socket, &[0x82, 0xE4, 1, 2, 3, 4, 5]).await;
            Ok(())
        }
        End::Garbage => {
            // A reserved opcode (RFC 6455 §5.2).
            write(&mut socket, &[0x83, 0x80, 0, 0, 0, 0]).await;
            until_over(&mut socket).await
        }
        End::Close => {
            send(&mut socket, Message::Close(None)).await?;
            closed(&mut socket, None).await
        }
        End::UpstreamCloses => {
            send(&mut socket, Message::text(upstream::CLOSE)).await?;
            closed(&mut socket, None).await
        }
        End::UpstreamCrashes => {
            send(&mut socket, Message::text(upstream::CRASH)).await?;
            closed(&mut socket, Some(CloseCode::Error)).await
        }
    }
}

/// Writes bytes past tungstenite. An error means that the proxy was faster.
async fn write(socket: &mut Socket, bytes: &[u8]) {
    let stream = socket.get_mut();
    let _ = within(STEP, async {
        stream.write_all(bytes).await?;
        stream.flush().await
    })
    .await;
}

/// Expects a close frame with this code, with no message before, and the tunnel's end behind it.
async fn closed(socket: &mut Socket, code: Option<CloseCode>) -> Result<(), String> {
    loop {
        match within(STEP, socket.next()).await {
            Some(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Some(Some(Ok(Message::Close(frame)))) => {
                let found = frame.map(|frame| frame.code);
                if found != code {
                    return Err(format!("the close code {found:?} rather than {code:?}"));
                }
                return until_over(socket).await;
            }
            Some(Some(Ok(_))) => return Err("a message behind the end".to_owned()),
            Some(Some(Err(error))) => return Err(fault("in place of a close frame", &error)),
            Some(None) => return Err("no close frame".to_owned()),
            None => return Err("no end".to_owned()),
        }
    }
}

/// Expects the tunnel's end, with no message before.
async fn until_over(socket: &mut Socket) -> Result<(), String> {
    match receive(socket).await? {
        None => Ok(()),
        Some(_) => Err("a message behind the end".to_owned()),
    }
}
