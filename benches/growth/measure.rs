//! The operations, at one number of tunnels and of upstreams.

use std::{
    convert::Infallible,
    fs,
    hint::black_box,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

use tokio::runtime::Builder;
use wsplice::{
    Drain, Pool, ProxyLayer, Registry, RequestOptions,
    frame::{CloseCode, CloseFrame},
};

use crate::{
    frames::{CLOSE, masked, read_control, send, unmasked},
    host::{Ends, Host},
};

/// Tunnels with the same key.
const PER_KEY: usize = 10;

/// Tunnels that are opened to measure the opening.
const OPENED: usize = 500;

/// Tunnels that are closed by their numbers to measure that.
const CLOSED: usize = 200;

/// Keys whose tunnels are closed to measure that.
const KEYS: usize = 20;

/// Listings that are measured.
const LISTINGS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Open,
    Close,
    CloseByKey,
    List,
    Drain,
}

impl Operation {
    pub(crate) const ALL: [Self; 5] = [
        Self::Open,
        Self::Close,
        Self::CloseByKey,
        Self::List,
        Self::Drain,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Open => "opening of one more",
            Self::Close => "order to close one, by its number",
            Self::CloseByKey => "order to close ten, by their key",
            Self::List => "listing, for each tunnel",
            Self::Drain => "drain, for each tunnel",
        }
    }
}

/// The CPU time of an operation.
pub(crate) struct Sample {
    pub(crate) operation: Operation,
    pub(crate) tunnels: usize,
    pub(crate) upstreams: usize,
    pub(crate) micros: f64,
}

/// Measures all operations beside so many tunnels.
pub(crate) fn all(tunnels: usize, upstreams: usize) -> Vec<Sample> {
    fastrand::seed(11);
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    // In a task of its own: the runtime's first future would park the thread each time it waits.
    let measuring = runtime.spawn(measure(tunnels, upstreams));
    let measured = runtime.block_on(measuring).unwrap();
    let samples = measured.into_iter().map(|(operation, micros)| Sample {
        operation,
        tunnels,
        upstreams,
        micros,
    });
    samples.collect()
}

async fn measure(tunnels: usize, upstreams: usize) -> [(Operation, f64); 5] {
    let layer = layer(upstreams);
    let (registry, drain) = (layer.registry(), layer.drain());
    let mut host = Host::new(layer);
    let mut ends = Vec::with_capacity(tunnels);
    for _ in 0..tunnels - OPENED {
        ends.push(host.open().await);
    }
    let began = cpu_micros();
    for _ in 0..OPENED {
        ends.push(host.open().await);
    }
    let open = (cpu_micros() - began) / OPENED as f64;
    assert_eq!(registry.count(), tunnels);

    let list = list(&registry);
    let close = close_by_number(&registry, tunnels);
    let close_by_key = close_by_key(&registry, tunnels);
    let drain = drain_all(drain, ends).await / tunnels as f64;
    [
        (Operation::Open, open),
        (Operation::Close, close),
        (Operation::CloseByKey, close_by_key),
        (Operation::List, list / tunnels as f64),
        (Operation::Drain, drain),
    ]
}

/// A layer whose tunnels have the keys `user-0`, `user-1` and so on, ten of them each.
fn layer(upstreams: usize) -> ProxyLayer {
    let addresses = (0..upstreams).map(|number| format!("ws://up-{number}.test:8080"));
    let opened = AtomicUsize::new(0);
    ProxyLayer::new(Pool::new(addresses).unwrap()).authorize(move |_| {
        let key = format!("user-{}", opened.fetch_add(1, Relaxed) / PER_KEY);
        async { Ok::<_, Infallible>(RequestOptions::new().key(key)) }
    })
}

fn list(registry: &Registry) -> f64 {
    let began = cpu_micros();
    for _ in 0..LISTINGS {
        black_box(registry.list());
    }
    (cpu_micros() - began) / LISTINGS as f64
}

fn close_by_number(registry: &Registry, tunnels: usize) -> f64 {
    let listed = registry.list();
    let step = tunnels / CLOSED;
    let ids: Vec<_> = listed.iter().step_by(step).map(|it| it.info.id).collect();
    let began = cpu_micros();
    for id in &ids {
        assert!(registry.close(*id, frame()));
    }
    (cpu_micros() - began) / ids.len() as f64
}

fn close_by_key(registry: &Registry, tunnels: usize) -> f64 {
    let step = tunnels / PER_KEY / KEYS;
    let began = cpu_micros();
    for user in 0..KEYS {
        let key = format!("user-{}", user * step);
        assert_eq!(registry.close_by_key(&key, frame()), PER_KEY);
    }
    (cpu_micros() - began) / KEYS as f64
}

/// Drains all tunnels, whose far ends answer the close frames.
async fn drain_all(drain: Drain, ends: Vec<Ends>) -> f64 {
    let (tunnels, began) = (ends.len(), cpu_micros());
    let answering = async {
        for mut ends in ends {
            let code = read_control(&mut ends.client, CLOSE).await;
            send(&mut ends.client, &masked(CLOSE, &code)).await;
            let code = read_control(&mut ends.upstream, CLOSE).await;
            send(&mut ends.upstream, &unmasked(CLOSE, &code)).await;
        }
    };
    let drain = drain.deadline(Duration::from_secs(3600));
    let (drained, ()) = tokio::join!(drain.run(), answering);
    let took = cpu_micros() - began;
    assert_eq!(drained.closed, tunnels);
    took
}

fn frame() -> CloseFrame {
    CloseFrame::new(CloseCode::POLICY_VIOLATION, "logged out")
}

/// The CPU time of this thread so far.
fn cpu_micros() -> f64 {
    // The scheduler brings the account up to date when the thread leaves the core.
    thread::sleep(Duration::from_micros(50));
    let account = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = account.split(' ').next().unwrap();
    nanoseconds.parse::<f64>().unwrap() / 1e3
}
