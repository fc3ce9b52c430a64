//! A health policy and an availability of one's own, a few lines each.
//!
//! ```text
//! cargo run --example custom_health_policy
//! ```
//!
//! Three upstreams are started, two of them are made to crash, and their health is printed. The
//! program ends by itself, after a few seconds.

use std::{
    borrow::Cow,
    cmp::Reverse,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::ws::WebSocketUpgrade, routing::any};
use futures_util::StreamExt;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use tokio_tungstenite::connect_async;
use wsplice::{
    Observer, Pool, ProxyLayer, UpstreamInfo,
    health::{
        Ejection, HealthEvaluator, HealthEvent, HealthEventKind, HealthTransition, Verdict,
        availability::{Admitted, Availability, UpstreamHealth},
    },
};

/// Unhealthy while three tunnels were lost within ten seconds. As it can be cloned, it is a
/// policy: each upstream gets an evaluator of its own.
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

    // Probes cannot detect crashes, so recovery is by trial, after the ejection.
    fn recovers_by_probes(&self) -> bool {
        false
    }
}

/// Never leaves fewer than so many in use: those that fell last are used nevertheless.
#[derive(Debug)]
struct AtLeast(usize);

impl Availability for AtLeast {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        let mut admitted = Admitted::healthy(pool);
        let mut fallen: Vec<_> = pool
            .iter()
            .map(|row| row.unhealthy_since)
            .enumerate()
            .collect();
        fallen.retain(|(_, since)| since.is_some());
        fallen.sort_by_key(|(_, since)| Reverse(*since));
        for (index, _) in fallen
            .into_iter()
            .take(self.0.saturating_sub(admitted.len()))
        {
            admitted.insert(index);
        }
        admitted
    }
}

/// Prints every change of health.
#[derive(Debug)]
struct Print;

impl Observer for Print {
    fn health_changed(&self, upstream: &UpstreamInfo<'_>, transition: &HealthTransition) {
        println!("  {} is {transition}", upstream.name);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let crashes: [Arc<AtomicBool>; 3] = Default::default();
    let mut upstreams = Vec::new();
    for crashes in &crashes {
        upstreams.push(format!("ws://{}", upstream(Arc::clone(crashes)).await?));
    }
    // Ejections last for a second here, to have something to watch.
    let pool = Pool::new(&upstreams)?
        .health_policy(Crashes::default())
        .availability(AtLeast(2))
        .ejection(Ejection::new().base(Duration::from_secs(1)))
        .build();
    let proxy = ProxyLayer::new(pool.clone()).observer(Print);
    let proxy = serve(Router::new().layer(proxy)).await?;

    println!("\nall is well");
    visit(&proxy, 20).await;
    show(&pool);

    println!("\nthe second one crashes");
    crashes[1].store(true, Ordering::Relaxed);
    visit(&proxy, 20).await;
    show(&pool);

    println!("\nthe third one, too, and is used nevertheless");
    crashes[2].store(true, Ordering::Relaxed);
    visit(&proxy, 20).await;
    show(&pool);

    println!("\nboth are mended");
    for crashes in &crashes {
        crashes.store(false, Ordering::Relaxed);
    }
    // Their ejections end, and the next client decides.
    for _ in 0..3 {
        sleep(Duration::from_secs(1)).await;
        visit(&proxy, 5).await;
    }
    show(&pool);
    Ok(())
}

fn show(pool: &Pool) {
    for upstream in pool.snapshot() {
        let used = if upstream.is_used {
            "in use"
        } else {
            "left out"
        };
        println!("  {}: {used}, {}", upstream.name, upstream.health);
    }
}

/// Opens WebSockets one after the other, and waits until each is over.
async fn visit(proxy: &str, times: usize) {
    let (mut greeted, mut lost) = (0, 0);
    for _ in 0..times {
        match connect_async(proxy).await {
            Ok((mut socket, _)) => match socket.next().await {
                Some(Ok(message)) if message.is_text() => greeted += 1,
                _ => lost += 1,
            },
            Err(error) => println!("  not accepted: {error}"),
        }
    }
    println!("  {greeted} of {times} clients were greeted, {lost} lost");
}

/// An upstream that greets its clients, or drops them without a close frame.
async fn upstream(crashes: Arc<AtomicBool>) -> std::io::Result<String> {
    let greet = |upgrade: WebSocketUpgrade| async move {
        let is_down = crashes.load(Ordering::Relaxed);
        upgrade.on_upgrade(move |mut socket| async move {
            if !is_down {
                let _ = socket.send("welcome".into()).await;
                let _ = socket.recv().await;
            }
        })
    };
    let url = serve(Router::new().fallback(any(greet))).await?;
    Ok(url.replace("ws://", ""))
}

async fn serve(app: Router) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}
