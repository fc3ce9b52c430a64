//! Sends every message back: `echo-server [listen=127.0.0.1:0]`.
//!
//! Prints `listening <address>`. It speaks no extension.

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{accept_async_with_config, tungstenite::protocol::WebSocketConfig};
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
    while let Some(Ok(message)) = socket.next().await {
        let is_data = message.is_text() || message.is_binary();
        if is_data && socket.send(message).await.is_err() {
            break;
        }
    }
}
