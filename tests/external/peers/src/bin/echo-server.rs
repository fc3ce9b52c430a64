//! Sends every message back: `echo-server [listen=127.0.0.1:0]`.
//!
//! Prints `listening <address>`. It speaks no extension.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_async_with_config,
    tungstenite::{
        Error,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};
use wsplice_peers::{Args, Failure, say};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let args = Args::from_env()?;
    let listener = TcpListener::bind(args.get::<String>("listen", "127.0.0.1:0")?).await?;
    say(&format!("listening {}", listener.local_addr()?));
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(echo(stream));
    }
}

/// Ends when the connection does, however it does: the other side is the judge.
async fn echo(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let config = WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None);
    let Ok(mut socket) = accept_async_with_config(stream, Some(config)).await else {
        return;
    };
    while let Some(message) = socket.next().await {
        let answer = match message {
            Ok(message) if message.is_text() || message.is_binary() => message,
            Ok(_) => continue,
            Err(error) => return close(socket, &error).await,
        };
        if let Err(error) = socket.send(answer).await {
            return close(socket, &error).await;
        }
    }
}

/// Says why. tungstenite by itself ends the connection without a word, and a proxy that may not
/// let that look like an orderly close must then say 1011 where a direct connection says nothing.
async fn close(mut socket: WebSocketStream<TcpStream>, error: &Error) {
    let code = match error {
        Error::Utf8(_) => CloseCode::Invalid,
        Error::Protocol(_) => CloseCode::Protocol,
        _ => return,
    };
    let frame = CloseFrame {
        code,
        reason: "".into(),
    };
    let rest = async {
        if socket.close(Some(frame)).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _ = timeout(Duration::from_secs(5), rest).await;
}
