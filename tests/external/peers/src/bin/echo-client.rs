//! Lets a fuzzing server of the Autobahn test suite examine it, and sends every message back:
//! `echo-client url=ws://127.0.0.1:9001 [agent=tungstenite] [parallel=8]`.
//!
//! Prints `done <cases>` once the server has looked at every case.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt, stream};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{Error, protocol::WebSocketConfig},
};
use wsplice_peers::{Args, Failure, say};

/// A case that takes longer than this is given up; the server has timers of its own.
const CASE_LIMIT: Duration = Duration::from_secs(60);

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let args = Args::from_env()?;
    let url: String = args.get("url", "ws://127.0.0.1:9001")?;
    let agent: String = args.get("agent", "tungstenite")?;
    let parallel: usize = args.get("parallel", "8")?;

    let cases = case_count(&url).await?;
    stream::iter(1..=cases)
        .for_each_concurrent(parallel, async |case| {
            let url = format!("{url}/runCase?case={case}&agent={agent}");
            let _ = timeout(CASE_LIMIT, echo(&url)).await;
        })
        .await;
    let _ = timeout(
        CASE_LIMIT,
        echo(&format!("{url}/updateReports?agent={agent}")),
    )
    .await;
    say(&format!("done {cases}"));
    Ok(())
}

async fn case_count(url: &str) -> Result<usize, Failure> {
    let mut socket = connect(&format!("{url}/getCaseCount")).await?;
    let message = socket.next().await.ok_or("no case count")??;
    Ok(message.to_text()?.trim().parse()?)
}

/// Ends when the connection does, however it does: the other side is the judge.
async fn echo(url: &str) -> Result<(), Error> {
    let mut socket = connect(url).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn connect(url: &str) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, Error> {
    let config = WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None);
    let (socket, _) = connect_async_with_config(url, Some(config), true).await?;
    Ok(socket)
}
