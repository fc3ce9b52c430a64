//! Time of a pick: each policy over 2 to 10,000 upstreams, and the lease of an upstream in a pool
//! most of whose upstreams cannot be used.
#![allow(missing_docs, clippy::unwrap_used)]

// Each benchmark uses a part of the host and its TLS.
#[allow(dead_code)]
#[path = "instructions/host.rs"]
mod host;
#[allow(dead_code)]
#[path = "instructions/tls.rs"]
mod tls;

use std::{
    future::{pending, ready},
    hint::black_box,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use tokio::runtime::{Builder, Runtime};
use tower::Service;
use wsplice::{
    Admission, ForwardHttp, Pool, ProxyLayer, Retry, Upstream,
    balance::{
        AnyBalance, Balance, First, LeastTunnels, LowestLatency, Random, Rendezvous, RoundRobin,
        WeightedRoundRobin,
    },
    connect::{Address, Connect, ConnectFuture},
    head::RequestHead,
    health::{Consecutive, availability::FailClosed},
    pool::OnUpstreamLoss,
    testing::MockCandidates,
};

use host::{Ends, Host, handshake_request, upgradable};

fn policies() -> Vec<(&'static str, AnyBalance)> {
    vec![
        ("least_tunnels", AnyBalance::new(LeastTunnels::new())),
        (
            "least_tunnels_exact",
            AnyBalance::new(LeastTunnels::new().exact()),
        ),
        ("lowest_latency", AnyBalance::new(LowestLatency::new())),
        ("round_robin", AnyBalance::new(RoundRobin::new())),
        (
            "weighted_round_robin",
            AnyBalance::new(WeightedRoundRobin::new()),
        ),
        ("random", AnyBalance::new(Random::new())),
        ("first", AnyBalance::new(First::new())),
        ("rendezvous", AnyBalance::new(Rendezvous::by_query("room"))),
        #[cfg(feature = "sticky")]
        ("sticky", AnyBalance::new(sticky())),
    ]
}

#[cfg(feature = "sticky")]
fn sticky() -> wsplice::balance::Sticky {
    wsplice::balance::Sticky::new("up", [7; 32]).unwrap()
}

/// Upstreams of weights 1 to 3, with a few tunnels each.
fn trial(count: usize) -> MockCandidates {
    let upstreams = (0..count).map(|index| upstream(index).weight(1 + index as u32 % 3));
    let mut trial = MockCandidates::from_upstreams(upstreams);
    for index in 0..count {
        for _ in 0..index % 5 {
            trial.open(index);
        }
    }
    trial
}

fn pick(criterion: &mut Criterion) {
    let request = http::Request::get("/ws?room=blue")
        .header("cookie", format!("up={}", "7f".repeat(40)))
        .body(())
        .unwrap();
    let head = RequestHead::from(&request);
    for (name, policy) in policies() {
        let mut group = criterion.benchmark_group(name);
        for count in [2, 100, 1_000, 10_000] {
            let trial = trial(count);
            let candidates = trial.candidates();
            group.bench_with_input(BenchmarkId::from_parameter(count), &count, |bencher, _| {
                bencher.iter(|| policy.pick(black_box(&candidates), black_box(&head)));
            });
        }
        group.finish();
    }
}

/// State of most of a pool's upstreams.
#[derive(Clone, Copy, Debug)]
enum Most {
    Usable,
    /// Nine of ten have no room.
    Full,
    /// None has room.
    AllFull,
    /// Nine of ten get no new tunnels.
    Unused,
}

/// Connector that never connects, so that a request ends with its lease.
#[derive(Debug)]
struct Unreachable;

impl Connect for Unreachable {
    fn connect<'a>(&'a self, _: &'a Address) -> ConnectFuture<'a> {
        Box::pin(pending())
    }
}

fn pool(count: usize, most: Most) -> Pool {
    let upstreams = (0..count).map(|index| {
        let is_full = match most {
            Most::Usable | Most::Unused => false,
            Most::Full => index % 10 != 0,
            Most::AllFull => true,
        };
        let room = if is_full { 0 } else { 1_000 };
        upstream(index).admission(Admission::new().max_tunnels(room))
    });
    let pool = Pool::from_upstreams(upstreams).build();
    if let Most::Unused = most {
        for (index, status) in pool.snapshot().into_iter().enumerate() {
            if index % 10 != 0 {
                pool.drain(&status.name, OnUpstreamLoss::Leave);
            }
        }
    }
    pool
}

/// A plain request from the service's call until an upstream is leased, and the lease given back.
fn lease(criterion: &mut Criterion) {
    let runtime = runtime();
    let _guard = runtime.enter();
    for most in [Most::Usable, Most::Full, Most::AllFull, Most::Unused] {
        let mut group = criterion.benchmark_group(format!("lease_{most:?}"));
        for count in [1_000, 10_000] {
            let layer = ProxyLayer::new(pool(count, most)).forward_http(ForwardHttp::new());
            let mut service = layer.connector(Unreachable).into_service();
            group.bench_with_input(BenchmarkId::from_parameter(count), &count, |bencher, _| {
                bencher.iter(|| {
                    let request = http::Request::new(http_body_util::Empty::<bytes::Bytes>::new());
                    service.call(request).now_or_never().is_some()
                });
            });
        }
        group.finish();
    }
}

/// Connector that fails at first, so that each request makes its upstream unhealthy, and later never
/// connects.
#[derive(Clone, Debug, Default)]
struct Refuses(Arc<AtomicBool>);

impl Connect for Refuses {
    fn connect<'a>(&'a self, _: &'a Address) -> ConnectFuture<'a> {
        match self.0.load(Ordering::Relaxed) {
            false => Box::pin(ready(Err(io::ErrorKind::ConnectionRefused.into()))),
            true => Box::pin(pending()),
        }
    }
}

/// Sends a request to a new service of this many upstreams, each of which becomes unhealthy with its
/// first failed connect.
fn failing(count: usize) -> (Refuses, impl FnMut()) {
    let upstreams = (0..count).map(upstream);
    let pool = Pool::from_upstreams(upstreams)
        .health_policy(Consecutive::new().fails(1))
        .availability(FailClosed);
    let connector = Refuses::default();
    let layer = ProxyLayer::new(pool)
        .forward_http(ForwardHttp::new())
        .retry(Retry::new().attempts(1));
    let mut service = layer.connector(connector.clone()).into_service();
    let send = move || {
        let request = http::Request::new(http_body_util::Empty::<bytes::Bytes>::new());
        black_box(service.call(request).now_or_never().is_some());
    };
    (connector, send)
}

/// Upstreams that fall one by one, with a pick after each.
fn fall(criterion: &mut Criterion) {
    let runtime = runtime();
    let _guard = runtime.enter();
    for (name, falls) in [
        ("fall_100", [100, 100]),
        ("fall_of_fifth", [200, 2_000]),
        ("fall_of_all", [1_000, 10_000]),
    ] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for (count, falls) in [1_000, 10_000].into_iter().zip(falls) {
            group.bench_with_input(BenchmarkId::from_parameter(count), &count, |bencher, _| {
                let setup = || failing(count).1;
                bencher.iter_batched(
                    setup,
                    // Returned, so that its end is not measured.
                    |mut send| {
                        (0..falls).for_each(|_| send());
                        send
                    },
                    BatchSize::PerIteration,
                );
            });
        }
        group.finish();
    }
    let mut group = criterion.benchmark_group("lease_most_unhealthy");
    for count in [1_000, 10_000] {
        let (connector, mut send) = failing(count);
        (0..count / 10 * 9).for_each(|_| send());
        connector.0.store(true, Ordering::Relaxed);
        group.bench_with_input(BenchmarkId::from_parameter(count), &count, |bencher, _| {
            bencher.iter(&mut send);
        });
    }
    group.finish();
}

/// Share of the upstreams whose handshakes of this second are used up.
#[derive(Clone, Copy, Debug)]
enum UsedUp {
    None,
    NineOfTen,
    All,
}

/// A handshake from the service's call until an upstream is leased or the handshake is rejected, where
/// each upstream has a limit on handshakes a second, and the clock stands still.
fn rates(criterion: &mut Criterion) {
    let runtime = runtime();
    let _guard = runtime.enter();
    let (_client, on_upgrade) = runtime.block_on(upgradable());
    let request = handshake_request(on_upgrade);
    for used_up in [UsedUp::None, UsedUp::NineOfTen, UsedUp::All] {
        let mut group = criterion.benchmark_group(format!("rates_used_up_{used_up:?}"));
        for count in [1_000, 10_000] {
            let upstreams = (0..count).map(|index| {
                let limits = match used_up {
                    UsedUp::NineOfTen if index % 10 != 0 => {
                        Admission::new().handshakes_per_second(1)
                    }
                    UsedUp::All => Admission::new().handshakes_per_second(1),
                    _ => Admission::new().handshakes_per_second(u32::MAX),
                };
                upstream(index).admission(limits)
            });
            let pool = Pool::from_upstreams(upstreams)
                .balance(RoundRobin::new())
                .build();
            let layer = ProxyLayer::new(pool).connector(Unreachable);
            let mut service = layer.clone().into_service();
            // In turns, each upstream gets one.
            for _ in 0..count {
                service.call(request.clone()).now_or_never();
            }
            let mut service = layer.balance(LeastTunnels::new()).into_service();
            group.bench_with_input(BenchmarkId::from_parameter(count), &count, |bencher, _| {
                bencher.iter(|| service.call(request.clone()).now_or_never().is_some());
            });
        }
        group.finish();
    }
}

/// The close order for the 100 tunnels of a drained upstream, and its withdrawal, beside the tunnels
/// of another upstream.
fn close(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("close_100_tunnels_beside");
    for others in [0, 1_000, 10_000] {
        let runtime = runtime();
        let _guard = runtime.enter();
        let lost = upstream(0).admission(Admission::new().max_tunnels(100));
        let pool = Pool::from_upstreams([lost, upstream(1)])
            .balance(First::new())
            .build();
        let name = pool.snapshot()[0].name.clone();
        let mut host = Host::new(ProxyLayer::new(pool.clone()));
        let _tunnels = runtime.block_on(async {
            let mut tunnels = Vec::new();
            for _ in 0..100 + others {
                let Ends { client, upstream } = host.open().await;
                tunnels.push((client, upstream));
            }
            tunnels
        });
        let spread = Duration::from_secs(3600);
        group.bench_with_input(
            BenchmarkId::from_parameter(others),
            &others,
            |bencher, _| {
                bencher.iter(|| {
                    assert!(pool.drain(&name, OnUpstreamLoss::Close { spread }));
                    assert!(pool.resume(&name));
                });
            },
        );
    }
    group.finish();
}

/// The replacement of all upstreams by others.
fn replace(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replace_all");
    for count in [1_000, 10_000] {
        let pool = pool(count, Most::Usable);
        let mut turn = 0_u32;
        group.bench_with_input(BenchmarkId::from_parameter(count), &count, |bencher, _| {
            bencher.iter(|| {
                turn = turn % 200 + 1;
                pool.replace((0..count).map(|index| {
                    let name = format!("ws://10.{turn}.{}.{}:8080", index / 256, index % 256);
                    Upstream::new(&name).unwrap()
                }))
            });
        });
    }
    group.finish();
}

fn upstream(index: usize) -> Upstream {
    Upstream::new(&format!("ws://10.0.{}.{}:8080", index / 256, index % 256)).unwrap()
}

fn runtime() -> Runtime {
    let mut runtime = Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap()
}

criterion_group!(benches, pick, lease, fall, rates, close, replace);
criterion_main!(benches);
