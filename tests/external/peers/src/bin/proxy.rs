//! The layer around an empty axum router:
//! `proxy upstream=ws://127.0.0.1:9001 [listen=127.0.0.1:0] [interval=0] [pong=5000]`.
//!
//! Times are in milliseconds; `interval=0` is no keep-alive. Prints `listening <address>`, and at
//! the end of each tunnel a line of `name=value` pairs, separated by tabs:
//!
//! ```text
//! closed <tab> id=1 <tab> end=closed <tab> initiator=client <tab> client_pongs=3 <tab> …
//! ```

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use tokio::net::TcpListener;
use wsplice::{
    KeepAlive, Observer, Pool, ProxyLayer, TunnelInfo, TunnelReport,
    tunnel::{DirectionStats, Rtt, Side},
};
use wsplice_peers::{Args, Failure, say};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let args = Args::from_env()?;
    let listener = TcpListener::bind(args.get::<String>("listen", "127.0.0.1:0")?).await?;
    let keep_alive = keep_alive(args.millis("interval", "0")?, args.millis("pong", "5000")?);
    let pool = Pool::new([args
        .get::<String>("upstream", "ws://127.0.0.1:9001")?
        .as_str()])?;
    let proxy = ProxyLayer::new(pool)
        .keep_alive(keep_alive)
        .observer(Printer::default());
    say(&format!("listening {}", listener.local_addr()?));
    let app = Router::new()
        .layer(proxy)
        .into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}

fn keep_alive(interval: Duration, pong: Duration) -> Option<KeepAlive> {
    let keep_alive = KeepAlive::new().interval(interval).pong_timeout(pong);
    (!interval.is_zero()).then_some(keep_alive)
}

/// Counts the answers to our pings, and prints how each tunnel ended.
#[derive(Debug, Default)]
struct Printer {
    /// Of the open tunnels: pongs of the client, pongs of the upstream.
    pongs: Mutex<HashMap<u64, (u64, u64)>>,
}

impl Observer for Printer {
    fn pong(&self, tunnel: &TunnelInfo, side: Side, _: Rtt) {
        let mut pongs = self.pongs.lock().unwrap_or_else(PoisonError::into_inner);
        let (client, upstream) = pongs.entry(tunnel.id).or_default();
        *(if side == Side::Client {
            client
        } else {
            upstream
        }) += 1;
    }

    fn tunnel_closed(&self, tunnel: &TunnelInfo, report: &TunnelReport) {
        let mut pongs = self.pongs.lock().unwrap_or_else(PoisonError::into_inner);
        let (client_pongs, upstream_pongs) = pongs.remove(&tunnel.id).unwrap_or_default();
        say(&format!(
            "closed\tid={}\tend={}\tinitiator={}\tclient_pongs={client_pongs}\tupstream_pongs={upstream_pongs}\tclient_close={}\tupstream_close={}\tclient_bytes={}\tupstream_bytes={}\tms={}",
            tunnel.id,
            report.end,
            report.initiator,
            close_code(&report.client_to_upstream),
            close_code(&report.upstream_to_client),
            report.client_to_upstream.bytes,
            report.upstream_to_client.bytes,
            report.duration.as_millis(),
        ));
    }
}

/// The code that a side sent; 1005 for none in its frame, 1006 for no frame (RFC 6455 §7.4.1).
fn close_code(passed: &DirectionStats) -> u16 {
    match &passed.close {
        Some(close) => close.code.map_or(1005, |code| code.as_u16()),
        None => 1006,
    }
}
