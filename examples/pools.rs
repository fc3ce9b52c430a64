//! A pool of several upstreams: weights, tags, a policy that keeps rooms together, and edits while
//! it runs.
//!
//! ```text
//! cargo run --example pools
//! ```
//!
//! The upstreams are started here too, and send each client their name. The program prints which
//! clients meet, and ends by itself.

use std::{collections::HashMap, error::Error, io, time::Duration};

use axum::{Router, extract::ws::WebSocketUpgrade, routing::any};
use futures_util::StreamExt;
use http::HeaderName;
use tokio::net::TcpListener;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{client::IntoClientRequest, http::HeaderValue},
};
use wsplice::{
    Observer, Pool, ProxyLayer, Upstream,
    balance::{Balance, Candidates, Rendezvous},
    head::RequestHead,
    observe::{MembershipChange, UpstreamInfo},
    pool::OnUpstreamLoss,
};

const ROOMS: usize = 60;

/// Load-balancing policy: a client that asks for a zone gets an upstream of it.
fn in_zone(upstreams: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize> {
    let zone = request.headers().get("x-zone")?.to_str().ok()?;
    let is_there = |upstream: wsplice::balance::Candidate<'_>| upstream.tag("zone") == Some(zone);
    upstreams.iter().position(is_there)
}

/// Observer that prints the changes of the upstreams.
#[derive(Debug)]
struct Print;

impl Observer for Print {
    fn upstream_changed(&self, upstream: &UpstreamInfo<'_>, change: MembershipChange) {
        println!("  {} {change}", upstream.name);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let big = upstream("big").await?.weight(3).tag("zone", "north");
    let small = upstream("small").await?.tag("zone", "south");
    let spare = upstream("spare").await?;

    // Everyone in a room meets on one upstream, and an upstream has rooms by its weight.
    let rooms = Rendezvous::by_header(HeaderName::from_static("x-room"));
    let pool = Pool::from_upstreams([big.clone(), small.clone()])
        .balance(in_zone.or_else(rooms))
        .removed_tunnels(OnUpstreamLoss::Close {
            spread: Duration::from_secs(1),
        })
        .build();
    let layer = ProxyLayer::new(pool.clone()).observer(Print);
    let proxy = serve(Router::new().layer(layer)).await?;

    println!("\n{ROOMS} rooms, by weights of 3 and 1");
    let before = meet(&proxy).await?;
    println!("\nthe same rooms again");
    let again = meet(&proxy).await?;
    println!("  {} rooms moved", moved(&before, &again));

    println!("\nby tag");
    for zone in ["north", "south"] {
        println!("  zone {zone}: {}", ask(&proxy, "x-zone", zone).await?);
    }

    println!("\none more upstream takes its share of the rooms, and no room moves elsewhere");
    pool.add(spare.clone());
    let after = meet(&proxy).await?;
    let to_spare = after.values().filter(|name| *name == "spare").count();
    println!(
        "  {} rooms moved, {to_spare} of them to it",
        moved(&before, &after)
    );

    println!("\nto be updated, one is drained; its clients would live on");
    pool.drain(big.name(), OnUpstreamLoss::Leave);
    meet(&proxy).await?;
    show(&pool);
    pool.resume(big.name());

    println!(
        "\nthe whole set as a configuration would give it: once more, and without the small one"
    );
    let set = [big, spare];
    println!("  changed something: {}", pool.replace(set.clone()));
    println!("  changed something: {}", pool.replace(set));
    meet(&proxy).await?;
    show(&pool);
    Ok(())
}

fn show(pool: &Pool) {
    for upstream in pool.snapshot() {
        let used = match (upstream.is_used, upstream.draining) {
            (true, _) => "in use",
            (false, Some(_)) => "being drained",
            (false, None) => "left out",
        };
        println!(
            "  {}: {used}, {}, weight {}, {} tunnels, answers in {:?}",
            upstream.name,
            upstream.health,
            upstream.weight,
            upstream.tunnels,
            upstream.latency.unwrap_or_default(),
        );
    }
}

/// Visits every room; returns the name of the upstream of each.
async fn meet(proxy: &str) -> Result<HashMap<usize, String>, Box<dyn Error>> {
    let mut met = HashMap::new();
    let mut counts: HashMap<String, usize> = HashMap::new();
    for room in 0..ROOMS {
        let name = ask(proxy, "x-room", &room.to_string()).await?;
        *counts.entry(name.clone()).or_default() += 1;
        met.insert(room, name);
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort();
    for (name, rooms) in counts {
        println!("  {name} has {rooms} rooms");
    }
    Ok(met)
}

fn moved(before: &HashMap<usize, String>, after: &HashMap<usize, String>) -> usize {
    after
        .iter()
        .filter(|(room, name)| before.get(room) != Some(name))
        .count()
}

/// Opens a WebSocket with this header; returns the name of the upstream.
async fn ask(proxy: &str, header: &'static str, value: &str) -> Result<String, Box<dyn Error>> {
    let mut request = proxy.into_client_request()?;
    request
        .headers_mut()
        .insert(header, HeaderValue::from_str(value)?);
    let (mut socket, _) = connect_async(request).await?;
    let name = socket.next().await.ok_or("no name")??.into_text()?;
    socket.close(None).await?;
    Ok(name.to_string())
}

/// An upstream that sends its name to its clients.
async fn upstream(name: &'static str) -> Result<Upstream, Box<dyn Error>> {
    let tell = move |upgrade: WebSocketUpgrade| async move {
        upgrade.on_upgrade(move |mut socket| async move {
            let _ = socket.send(name.into()).await;
            while let Some(Ok(_)) = socket.recv().await {}
        })
    };
    let url = serve(Router::new().fallback(any(tell))).await?;
    println!("{name} listens on {url}");
    Ok(Upstream::new(&url)?)
}

async fn serve(app: Router) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}
