//! Attacks: by a clever request ([`attacks`]), and by numbers (floods).
//!
//! Each class has a test, with its advisory where there is one. The server of a flood is the documented
//! recipe of `docs/hosts.md`, which is the example `bounded_server` itself, with shorter bounds. A flood
//! runs twice; after each time the proxy serves, no upstream is leased, no tunnel is registered, and the
//! descriptors and tasks of the process are those of a server without clients. The heap may grow in the
//! first round alone, in which tables and queues get their sizes.
//!
//! With `FLOODED_GATEWAY=path/to/wsplice-gateway` the floods attack the gateway's process instead, with
//! its own bounds, three times each: `.ci/full-suites/30-gateway-floods`. Its tasks and heap are not seen;
//! it may have 8 MiB of memory more after the third round than after the second. `FLOOD_ROUNDS` sets
//! another number of rounds, and `FLOOD_CLIENTS` that of the slow clients.
//!
//! A binary of its own, because its allocator counts every allocation of the process. The tests take
//! turns for the same reason.
// Clippy's "allow in tests" covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod arena;
mod attacks;
// Its `main` is not used here.
#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/bounded_server.rs"]
mod bounded_server;
mod client;
mod example;
mod footprint;
mod gateway;
mod http2;
mod http2_frames;
mod http2_tunnels;
mod slow;
// Each binary uses a part of the kit.
#[allow(dead_code, unused_imports)]
#[path = "../it/support/mod.rs"]
mod support;
mod tunnels;
mod upstream;

use std::{
    alloc::System,
    sync::{Mutex, PoisonError},
};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Runs one test while no other one runs, on a runtime of its own with one thread.
fn alone(test: impl Future<Output = ()>) {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if gateway::program().is_some() {
        // Each test counts in a process of its own.
        drop(turn);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}
