//! Soak: thousands of tunnels churn with faults, over TCP, TLS and HTTP/2, for as long as one likes.
//!
//! Each client lives many lives: it opens a WebSocket, exchanges messages whose echo it compares byte
//! by byte, and ends as its plan says: in order, by a reset, inside a message, by the upstream's close
//! or crash, by garbage. Now and then all stop. At these quiet points the counts of the proxy, its
//! descriptors and its tasks must be those of a proxy without clients, and the heap that of the first
//! quiet point but one.
//!
//! ```sh
//! WSPLICE_SOAK_TUNNELS=5000 WSPLICE_SOAK_SECONDS=3600 \
//!     cargo test --release --all-features --test soak -- --nocapture
//! ```
//!
//! A binary of its own, because its allocator counts every allocation of the process.
// Clippy's "allow in tests" covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
#[allow(dead_code)]
#[path = "../floods/footprint.rs"]
mod footprint;
mod ledger;
mod listener;
mod patience;
mod plan;
mod proxy;
// Each binary uses a part of the kit.
#[allow(dead_code, unused_imports)]
#[path = "../it/support/mod.rs"]
mod support;
mod upstream;

use std::{
    alloc::System,
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::{runtime::Runtime, sync::watch, task::JoinSet};

use crate::{
    client::Client,
    footprint::{Footprint, HeapGrowth},
    ledger::Ledger,
    plan::Kind,
    proxy::Proxy,
};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes by which the heap of two quiet points may differ: queues and tables of the runtime keep the
/// size of the busiest moment.
const HEAP_SLACK: isize = 256 << 10;

/// Quiet points, at the least. The heap of the second one is what the others are compared with.
const MIN_ROUNDS: u32 = 3;

/// The longest time between two quiet points.
const MAX_ROUND: Duration = Duration::from_secs(60);

/// How many tunnels there are, and for how long.
#[derive(Clone, Copy, Debug)]
struct Extent {
    tunnels: usize,
    time: Duration,
}

impl Extent {
    /// A few seconds, unless the environment says otherwise.
    fn from_env() -> Self {
        let number = |name, default| match env::var(name) {
            Ok(value) => value
                .parse()
                .unwrap_or_else(|_| panic!("{name} is no number: {value}")),
            Err(_) => default,
        };
        Self {
            tunnels: usize::try_from(number("WSPLICE_SOAK_TUNNELS", 60)).unwrap(),
            time: Duration::from_secs(number("WSPLICE_SOAK_SECONDS", 6)),
        }
    }

    fn round(self) -> Duration {
        (self.time / MIN_ROUNDS).min(MAX_ROUND)
    }
}

#[test]
fn tunnels_churn_with_faults_and_leave_nothing_behind() {
    let extent = Extent::from_env();
    // A tunnel is three descriptors of this process: the client's, and the proxy's two.
    let needed = extent.tunnels as u64 * 3 + 1024;
    let limit = rlimit::increase_nofile_limit(needed).unwrap_or(u64::MAX);
    assert!(
        limit >= needed,
        "{needed} descriptors, of which the system allows {limit}"
    );
    runtime().block_on(soak(extent));
}

/// Name of the test below.
const UPSTREAMS_TEST: &str = "upstreams_of_the_soak";

/// Upstreams of the proxy.
const UPSTREAMS: usize = 3;

#[test]
#[ignore = "it is the process of the upstreams, which the soak starts"]
fn upstreams_of_the_soak() {
    runtime().block_on(upstream::serve_all(UPSTREAMS));
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

async fn soak(extent: Extent) {
    let ledger = Arc::new(Ledger::default());
    let proxy = Proxy::start(Arc::clone(&ledger)).await;
    let (began, mut growth) = (Instant::now(), None);
    for round in 1.. {
        run_clients(&proxy, &ledger, extent).await;
        proxy.is_quiet(&ledger).await;
        let kept = growth.as_ref().map_or(0, HeapGrowth::bytes);
        println!(
            "{:6.0} s, round {round}: {ledger}; heap {} bytes ({kept:+}), {} MiB resident, {:?}",
            began.elapsed().as_secs_f64(),
            footprint::heap(),
            footprint::resident_memory(std::process::id()) >> 20,
            Footprint::now(),
        );
        ledger.assert_sound();
        assert!(kept < HEAP_SLACK, "the heap grew by {kept} bytes");
        if round == MIN_ROUNDS - 1 {
            growth = Some(HeapGrowth::since_now());
        }
        if round >= MIN_ROUNDS && began.elapsed() >= extent.time {
            break;
        }
    }
    ledger.assert_all_happened();
}

/// Runs all clients for one round, up to the end of each.
async fn run_clients(proxy: &Proxy, ledger: &Arc<Ledger>, extent: Extent) {
    let (stop, stopped) = watch::channel(false);
    let mut clients = JoinSet::new();
    for number in 0..extent.tunnels {
        let client = Client {
            kind: Kind::of(number),
            target: proxy.target(),
            ledger: Arc::clone(ledger),
            stopped: stopped.clone(),
        };
        clients.spawn(client.live());
    }
    tokio::time::sleep(extent.round()).await;
    stop.send_replace(true);
    while let Some(client) = clients.join_next().await {
        client.expect("a client panicked");
    }
}
