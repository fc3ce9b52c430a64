//! The frame scanner: frames per second where they are small, bytes skipped where they are large.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wsplice::frame::{FrameHeader, OpCode, Scanner};

/// The most bytes of one read of the tunnel.
const READ: usize = 256 * 1024;

/// As many frames of this payload as fit into `len` bytes, masked or not.
fn stream(payload: u64, mask: Option<[u8; 4]>, len: usize) -> (Vec<u8>, u64) {
    let header = FrameHeader::new(OpCode::BINARY, payload).unwrap();
    let header = mask.map_or(header, |key| header.masked(key));
    let mut frame = header.encode().to_vec();
    frame.resize(usize::try_from(header.frame_len()).unwrap(), 0);
    let frames = (len / frame.len()).max(1);
    (frame.repeat(frames), frames as u64)
}

fn scan(scanner: &mut Scanner, mut input: &[u8]) -> u64 {
    let mut seen = 0;
    while let Ok(Some(header)) = scanner.next(&mut input) {
        seen += u64::from(header.opcode().bits());
    }
    seen
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scanner/frames");
    for (name, payload, mask) in [
        ("empty", 0, None),
        ("16 B", 16, None),
        ("16 B masked", 16, Some([1, 2, 3, 4])),
        ("1 KiB masked", 1024, Some([1, 2, 3, 4])),
    ] {
        // 16 KiB stay in the first cache.
        let (bytes, frames) = stream(payload, mask, 16 * 1024);
        group.throughput(Throughput::Elements(frames));
        group.bench_function(name, |bencher| {
            bencher.iter(|| scan(&mut Scanner::new(), black_box(&bytes)));
        });
    }
    group.finish();
}

fn skipped(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scanner/skipped");
    for (name, payload) in [("64 KiB", 65_536), ("1 MiB", 1_048_576)] {
        let (bytes, _) = stream(payload, Some([1, 2, 3, 4]), 4 * 1024 * 1024);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut scanner = Scanner::new();
                let reads = black_box(&bytes).chunks(READ);
                reads.map(|read| scan(&mut scanner, read)).sum::<u64>()
            });
        });
    }
    group.finish();
}

/// The worst cut: every read brings one byte.
fn cut(criterion: &mut Criterion) {
    let (bytes, frames) = stream(16, Some([1, 2, 3, 4]), 16 * 1024);
    let mut group = criterion.benchmark_group("scanner/byte by byte");
    group.throughput(Throughput::Elements(frames));
    group.bench_function("16 B masked", |bencher| {
        bencher.iter(|| {
            let mut scanner = Scanner::new();
            let reads = black_box(&bytes).chunks(1);
            reads.map(|read| scan(&mut scanner, read)).sum::<u64>()
        });
    });
    group.finish();
}

criterion_group!(benches, frames, skipped, cut);
criterion_main!(benches);
