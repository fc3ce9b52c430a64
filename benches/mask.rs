//! Masking, which a tunnel applies only to its own control frames.

#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wsplice::frame::mask;

fn apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask/apply");
    for (name, len) in [("8 B", 8_usize), ("125 B", 125), ("64 KiB", 65_536)] {
        let mut data = vec![0x5A; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| mask::apply(black_box(&mut data), [1, 2, 3, 4], 3));
        });
    }
    group.finish();
}

criterion_group!(benches, apply);
criterion_main!(benches);
