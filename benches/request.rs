//! Cost for every request of the host: handshake recognition and the matcher.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::Request;
use wsplice::{
    handshake::inspect,
    head::RequestHead,
    matcher::{Matcher, host, origin, owns, path, paths, websocket},
};

/// A page's request, as a browser makes it.
fn ordinary(target: &str) -> Request<()> {
    Request::get(target)
        .header("host", "chat.example.com")
        .header("connection", "keep-alive")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)")
        .header("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
        .header("accept-language", "en-GB,en;q=0.5")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("cookie", "session=0123456789abcdef0123456789abcdef")
        .body(())
        .unwrap()
}

/// The same browser's WebSocket handshake.
fn handshake(target: &str) -> Request<()> {
    let mut request = ordinary(target);
    let headers = request.headers_mut();
    for (name, value) in [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("origin", "https://chat.example.com"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    request
}

fn inspecting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inspect");
    for (name, request) in [
        ("ordinary", ordinary("/rooms/7")),
        ("handshake", handshake("/ws/rooms/7")),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| inspect(&RequestHead::from(black_box(&request))));
        });
    }
    group.finish();
}

fn matching(criterion: &mut Criterion) {
    let request = handshake("/ws/rooms/7?token=abc");
    let many: Vec<_> = (0..50).map(|route| format!("/route{route}/*")).collect();
    let mut group = criterion.benchmark_group("matcher");
    let mut bench = |name: &str, matcher: &dyn Matcher| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| matcher.matches(&RequestHead::from(black_box(&request))));
        });
    };
    bench("path", &path("/ws/*"));
    bench("50 paths, none", &paths(&many));
    bench("host", &host("*.example.com"));
    bench("origin", &origin(["https://chat.example.com"]).unwrap());
    bench(
        "path and host and websocket",
        &path("/ws/*").and(host("*.example.com")).and(websocket()),
    );
    group.finish();
}

/// A path that can be read in several ways is matched in each of them.
fn owning(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("owns");
    for (name, target) in [
        ("plain", "/ws/rooms/7"),
        ("encoded", "/ws/rooms/caf%C3%A9"),
        ("tricky", "/ws/a%2Fb/..%2e//c"),
    ] {
        let request = handshake(target);
        let matcher = path("/ws/*");
        group.bench_function(name, |bencher| {
            bencher.iter(|| owns(&matcher, &RequestHead::from(black_box(&request))));
        });
    }
    group.finish();
}

criterion_group!(benches, inspecting, matching, owning);
criterion_main!(benches);
