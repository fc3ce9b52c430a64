//! The upstreams: they echo, refuse, close or crash, as the client wishes.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
};

use futures_util::{SinkExt, StreamExt};
use tokio::{io::AsyncReadExt, net::TcpStream, task::JoinSet};
use tokio_tungstenite::accept_hdr_async;
use tungstenite::{
    Message,
    handshake::server::{ErrorResponse, Request, Response},
};

use crate::listener::listen;

/// The message after which the upstream closes the WebSocket.
pub(crate) const CLOSE: &str = "close";

/// The message after which the upstream resets the connection.
pub(crate) const CRASH: &str = "crash";

/// What the process of the upstreams prints before each address.
const ADDRESS: &str = "upstream=";

/// Upstreams in a process of their own, until they are dropped: the descriptors of a process are limited,
/// and what upstreams hold is not what the test is about.
#[derive(Debug)]
pub(crate) struct Upstreams {
    pub(crate) addrs: Vec<SocketAddr>,
    process: Child,
    /// Kept open: a test that cannot print ends its process.
    _output: BufReader<ChildStdout>,
}

impl Upstreams {
    /// Starts the test of this name in another process of this binary.
    pub(crate) fn start(test: &str, count: usize) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", test])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let addrs = output
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| {
                let (_, address) = line.split_once(ADDRESS)?;
                address.parse().ok()
            });
        let addrs: Vec<_> = addrs.take(count).collect();
        assert_eq!(addrs.len(), count, "upstreams that have started");
        Self {
            addrs,
            process,
            _output: output,
        }
    }
}

impl Drop for Upstreams {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves upstreams until the process that started this one is gone.
pub(crate) async fn serve_all(count: usize) {
    let mut accepting = JoinSet::new();
    for _ in 0..count {
        let listener = listen();
        println!("{ADDRESS}{}", listener.local_addr().unwrap());
        accepting.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream));
            }
        });
    }
    let _ = tokio::io::stdin().read(&mut [0]).await;
}

async fn serve(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    // The handshake fails where it is refused, or where the client is gone already.
    let Ok(mut socket) = accept_hdr_async(stream, decide).await else {
        return;
    };
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(order) if order.as_str() == CLOSE => {
                let _ = socket.close(None).await;
            }
            Message::Text(order) if order.as_str() == CRASH => {
                let _ = socket.get_ref().set_zero_linger();
                return;
            }
            message if message.is_binary() => {
                let echoed = socket.send(message).await;
                if echoed.is_err() {
                    return;
                }
            }
            _ => {}
        }
    }
}

// The signature is tungstenite's.
#[allow(clippy::result_large_err)]
fn decide(request: &Request, response: Response) -> Result<Response, ErrorResponse> {
    if request.uri().path() == "/ws/refuse" {
        let mut refusal = ErrorResponse::new(Some("not you".to_owned()));
        *refusal.status_mut() = http::StatusCode::FORBIDDEN;
        return Err(refusal);
    }
    Ok(response)
}
