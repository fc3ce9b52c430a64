//! A health policy of one's own: an upstream that loses its tunnels is unhealthy.
//!
//! ```text
//! cargo run --example custom_health_policy
//! ```
//!
//! Of two upstreams one drops all of its clients. The program prints the health of both, and ends.

use std::{borrow::Cow, net::SocketAddr, sync::Mutex, time::Duration};

use axum::{BoxError, Router, extract::ws::WebSocketUpgrade, routing::any};
use futures_util::StreamExt;
use tokio::{net::TcpListener, time::Instant};
use tokio_tungstenite::connect_async;
use wsplice::health::{HealthEvaluator, HealthEvent, HealthEventKind, Verdict};
use wsplice::{Pool, ProxyLayer};

/// Unhealthy while three tunnels were lost within ten seconds; `Clone` makes it a policy.
#[derive(Clone, Debug, Default)]
struct Crashes(Vec<Instant>);

impl HealthEvaluator for Crashes {
    fn observe(&mut self, event: &HealthEvent) {
        if let HealthEventKind::TunnelLost { .. } = event.kind {
            self.0.push(event.at);
        }
    }

    fn verdict(&mut self, now: Instant) -> Verdict {
        self.0.retain(|at| now - *at < Duration::from_secs(10));
        match self.0.len() {
            0..3 => Verdict::Healthy,
            _ => Verdict::Unhealthy,
        }
    }

    fn cause(&self) -> Cow<'_, str> {
        format!("{} crashes in ten seconds", self.0.len()).into()
    }
}

async fn serve(app: Router) -> Result<String, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let greets = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut socket| async move {
            let _ = socket.send("welcome".into()).await;
            socket.recv().await;
        })
    };
    let crashes = |upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(async |_| ()) };
    let upstreams = [any(greets), any(crashes)].map(|route| Router::new().fallback(route));
    let [greeting, crashing] = upstreams.map(serve);
    let pool = Pool::new([greeting.await?, crashing.await?])?;
    let pool = pool.health_policy(Crashes::default()).build();
    // Each client gets another address: the news of one alone is no verdict on an upstream.
    let clients = Mutex::new(0..);
    let proxy = ProxyLayer::new(pool.clone()).client_info(move |_| {
        let client = clients.lock().ok()?.next()?;
        Some(SocketAddr::from(([10, 0, 0, client], 9)).into())
    });
    let proxy = serve(Router::new().layer(proxy)).await?;
    let mut greeted = 0;
    for _ in 0..40 {
        let first = connect_async(&proxy).await?.0.next().await;
        greeted += u32::from(matches!(first, Some(Ok(message)) if message.is_text()));
    }
    println!("{greeted} of 40 clients were greeted");
    for upstream in pool.snapshot() {
        println!("{}: {}", upstream.name, upstream.health);
    }
    Ok(())
}
