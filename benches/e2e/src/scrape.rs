//! Reader of a subject's metrics and status page.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{interval, timeout},
};

use crate::{error::Result, process::Server, subject::Kind};

/// What a scraper and an open page read.
const TARGETS: [&str; 2] = ["/metrics", "/status?view=json"];

/// Reads the metrics and the status of a subject once a second, until dropped.
pub struct Scrapes(#[expect(dead_code, reason = "its drop ends the reader")] JoinSet<()>);

impl Scrapes {
    /// Does nothing for subjects without metrics.
    pub fn start(server: &Server) -> Self {
        let mut reading = JoinSet::new();
        if server.name == Kind::WspliceScraped.name() {
            reading.spawn(read_every_second(server.addr));
        }
        Self(reading)
    }
}

async fn read_every_second(addr: SocketAddr) {
    let mut ticks = interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        for target in TARGETS {
            if let Err(error) = read(addr, target).await {
                eprintln!("{target}: {error}");
            }
        }
    }
}

async fn read(addr: SocketAddr, target: &str) -> Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut response)).await??;
    match response.starts_with(b"HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err("the response is not 200".into()),
    }
}
