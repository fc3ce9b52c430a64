//! Time of a pick: each policy over 2, 100 and 10,000 upstreams, and the lease of an upstream in a pool
//! most of whose upstreams cannot be used.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    future::{pending, ready},
    hint::black_box,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use tower::Service;
use wsplice::{
    Admission, ForwardHttp, OnUpstreamLoss, Pool, ProxyLayer, Retry, Upstream,
    balance::{
        AnyBalance, Balance, First, LeastTunnels, LowestLatency, Random, Rendezvous, RoundRobin,
        WeightedRoundRobin,
    },
    connect::{Address, Connect, ConnectFuture},
    head::RequestHead,
    health::{Consecutive, availability::FailClosed},
    testing::MockCandidates,
};

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
    let upstreams = (0..count).map(|index| {
        let name = format!("ws://10.0.{}.{}:8080", index / 256, index % 256);
        Upstream::new(&name).unwrap().weight(1 + index as u32 % 3)
    });
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
        for count in [2, 100, 10_000] {
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
        let name = format!("ws://10.0.{}.{}:8080", index / 256, index % 256);
        let is_full = match most {
            Most::Usable | Most::Unused => false,
            Most::Full => index % 10 != 0,
            Most::AllFull => true,
        };
        let room = if is_full { 0 } else { 1_000 };
        Upstream::new(&name)
            .unwrap()
            .admission(Admission::new().max_tunnels(room))
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
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
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
    let upstreams = (0..count).map(|index| {
        let name = format!("ws://10.0.{}.{}:8080", index / 256, index % 256);
        Upstream::new(&name).unwrap()
    });
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
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let _guard = runtime.enter();
    for (name, falls) in [("fall_100", [100, 100]), ("fall_of_fifth", [200, 2_000])] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for (count, falls) in [1_000, 10_000].into_iter().zip(falls) {
            group.bench_with_input(BenchmarkId::from_parameter(count), &count, |bencher, _| {
                let setup = || failing(count).1;
                bencher.iter_batched(
                    setup,
                    |mut send| (0..falls).for_each(|_| send()),
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

criterion_group!(benches, pick, lease, fall, replace);
criterion_main!(benches);
