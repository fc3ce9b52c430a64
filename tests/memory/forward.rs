//! The proxy's memory for large bodies that it forwards.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicIsize, Ordering},
    thread,
};

use stats_alloc::Region;
use wsplice::ForwardHttp;

use crate::{
    HEAP,
    host::{Host, Server},
    net, turn,
    wire::{connect, read_head},
};

/// 64 MiB, piece by piece.
const PIECE: usize = 64 << 10;
const PIECES: usize = 1 << 10;

/// An upstream that takes a body and sends one of the same length, one connection at a time.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            read_head(&mut stream);
            take(&mut stream, &mut || {});
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                PIECE * PIECES
            );
            stream.write_all(head.as_bytes()).unwrap();
            give(&mut stream, &mut || {});
        }
    });
    addr
}

fn take(stream: &mut TcpStream, after_each: &mut impl FnMut()) {
    let mut piece = vec![0; PIECE];
    for _ in 0..PIECES {
        stream.read_exact(&mut piece).unwrap();
        after_each();
    }
}

fn give(stream: &mut TcpStream, after_each: &mut impl FnMut()) {
    let piece = vec![7; PIECE];
    for _ in 0..PIECES {
        stream.write_all(&piece).unwrap();
        after_each();
    }
}

/// hyper's server alone may gather 400 KiB a direction before it waits; the body has 64 MiB.
#[test]
fn bodies_of_64_mib_pass_through_a_few_buffers() {
    let _turn = turn();
    let host = Host::serving(Server::Axum, upstream(), |layer| {
        layer.forward_http(ForwardHttp::new())
    });
    let mut client = connect(host.addr);
    let head = format!(
        "POST /ws/x HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n",
        PIECE * PIECES
    );
    let peak = AtomicIsize::new(0);
    let region = Region::new(HEAP);
    let mut look = || {
        peak.fetch_max(net(&region), Ordering::Relaxed);
    };
    client.write_all(head.as_bytes()).unwrap();
    give(&mut client, &mut look);
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    take(&mut client, &mut look);
    let peak = peak.into_inner();
    println!("64 MiB each way: {peak} bytes at most");
    assert!(peak < 2 << 20, "{peak} bytes");
}
