//! `TCP_NOTSENT_LOWAT` on plain legs: a test that the setting reaches the sockets, and a measurement.
//! That one shows how late a close and a ping of the proxy reach a slow reader behind a burst, and how
//! long a quick reader takes, with and without the option.
//!
//! ```sh
//! cargo test --all-features --test it notsent_lowat -- --ignored --nocapture
//! ```

use std::time::{Duration, Instant};

#[cfg(any(target_os = "android", target_os = "linux"))]
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use wsplice::{
    KeepAlive, TunnelConfig,
    frame::{CloseCode, CloseFrame},
    tunnel::Tunnel,
};

use crate::{
    support::frames::{binary, unmasked},
    tunnel_paths::{Streamed, frame_in_sips},
};

/// A mebibyte a second.
const SIP: usize = 32 * 1024;
const BETWEEN_SIPS: Duration = Duration::from_millis(31);

const ROUNDS: usize = 5;

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let (near, far) = tokio::join!(listener.accept(), TcpStream::connect(addr));
    (near.expect("accepted").0, far.expect("connected"))
}

/// A tunnel with this setting: both far ends, the handle.
async fn tunnel(
    lowat: Option<u32>,
    config: TunnelConfig,
) -> (TcpStream, TcpStream, wsplice::tunnel::TunnelHandle) {
    let (near_client, client) = sockets().await;
    let (near_upstream, upstream) = sockets().await;
    let tunnel = Tunnel::builder(near_client, near_upstream)
        .config(config.notsent_lowat(lowat))
        .build();
    let handle = tunnel.handle();
    tokio::spawn(tunnel);
    (client, upstream, handle)
}

#[cfg(any(target_os = "android", target_os = "linux"))]
#[tokio::test]
async fn the_kernel_keeps_as_few_bytes_unsent_on_both_legs_as_is_set() {
    let (untouched, _far) = sockets().await;
    let of_system = SockRef::from(&untouched).tcp_notsent_lowat().unwrap();
    for (config, expected) in [
        (TunnelConfig::new(), of_system),
        (TunnelConfig::new().notsent_lowat(128 * 1024), 128 * 1024),
    ] {
        let (client, _far_client) = sockets().await;
        let (upstream, _far_upstream) = sockets().await;
        let watched = [&client, &upstream].map(|near| SockRef::from(near).try_clone().unwrap());
        let _tunnel = Tunnel::builder(client, upstream).config(config).build();
        for socket in watched {
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), expected);
        }
    }
}

/// Sends frames of 16 KiB until the tunnel is gone.
fn flood(mut upstream: TcpStream) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let frame = unmasked(binary(&[7; 16 * 1024]));
        while upstream.write_all(&frame).await.is_ok() {}
    })
}

/// Time from the call until the close frame is read, in the third second of a burst.
async fn close_delay(lowat: Option<u32>) -> Duration {
    let (client, upstream, handle) = tunnel(lowat, TunnelConfig::new()).await;
    let flood = flood(upstream);
    let mut client = Streamed(client);
    let began = Instant::now();
    let mut closed = None;
    let delay = loop {
        if closed.is_none() && began.elapsed() > Duration::from_secs(2) {
            handle.close(CloseFrame::new(CloseCode::GOING_AWAY, ""));
            closed = Some(Instant::now());
        }
        let frame = frame_in_sips(&mut client, SIP, BETWEEN_SIPS).await;
        if frame.first == 0x88 {
            break closed.expect("no close before").elapsed();
        }
    };
    flood.abort();
    delay
}

/// How late a ping is that is due 200 ms after the beginning of a burst.
async fn ping_delay(lowat: Option<u32>) -> Duration {
    let keep_alive = KeepAlive::default()
        .interval(Duration::from_millis(200))
        .jitter(0.0);
    let config = TunnelConfig::new().client_keep_alive(keep_alive);
    let (client, upstream, _handle) = tunnel(lowat, config).await;
    let flood = flood(upstream);
    let mut client = Streamed(client);
    let began = Instant::now();
    let first = loop {
        let frame = frame_in_sips(&mut client, SIP, BETWEEN_SIPS).await;
        let is_ping = frame.first == 0x89;
        if is_ping || began.elapsed() > Duration::from_secs(20) {
            break began.elapsed();
        }
    };
    flood.abort();
    first.saturating_sub(Duration::from_millis(200))
}

/// Time of 256 MiB to a client that reads them at once.
async fn throughput(lowat: Option<u32>) -> Duration {
    const TOTAL: usize = 256 << 20;
    let (mut client, upstream, _handle) = tunnel(lowat, TunnelConfig::new()).await;
    let flood = flood(upstream);
    let began = Instant::now();
    let mut bytes = vec![0; 256 * 1024];
    let mut read = 0;
    while read < TOTAL {
        read += client.read(&mut bytes).await.expect("more");
    }
    flood.abort();
    began.elapsed()
}

async fn median(measure: impl AsyncFn() -> Duration) -> [Duration; 3] {
    let mut all = Vec::new();
    for _ in 0..ROUNDS {
        all.push(measure().await);
    }
    all.sort();
    [all[0], all[ROUNDS / 2], all[ROUNDS - 1]]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn delays_behind_a_burst() {
    // A first tunnel warms everything up.
    sleep(close_delay(None).await.min(Duration::ZERO)).await;
    for lowat in [None, Some(128 * 1024), Some(16 * 1024)] {
        let [least, close, most] = median(async || close_delay(lowat).await).await;
        println!("{lowat:?}: close after {close:?} ({least:?} to {most:?})");
        let [least, ping, most] = median(async || ping_delay(lowat).await).await;
        println!("{lowat:?}: ping late by {ping:?} ({least:?} to {most:?})");
        let [least, all, most] = median(async || throughput(lowat).await).await;
        println!("{lowat:?}: 256 MiB in {all:?} ({least:?} to {most:?})");
    }
}
