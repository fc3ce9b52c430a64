//! Time of a pick: each policy over 2, 100 and 10,000 upstreams.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use wsplice::{
    Upstream,
    balance::{
        AnyBalance, Balance, First, LeastTunnels, LowestLatency, MockCandidates, Random,
        Rendezvous, RoundRobin, WeightedRoundRobin,
    },
    head::RequestHead,
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

criterion_group!(benches, pick);
criterion_main!(benches);
