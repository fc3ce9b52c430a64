//! Heads that are too large, or name one thing twice.

use super::kit::{Arena, request};
use crate::{
    alone,
    support::raw::{KEY, handshake_request, request as raw_request},
};

#[test]
fn oversized_heads_are_rejected() {
    alone(async {
        // Before the heap is looked at for the first time.
        let long = "x".repeat(1 << 20);
        let arena = Arena::start().await;
        for head in [
            request("GET", &format!("/ws/{long}"), &[]),
            request("GET", "/ws/x", &[&format!("X: {long}")]),
            request("GET", "/ws/x", &[&format!("{long}: x")]),
            request("GET", "/ws/x", &vec!["X: x"; 50_000]),
            request("GET", "/ws/x", &[&format!("Cookie: {long}")]),
            request(&long, "/ws/x", &[]),
            handshake_request("/ws/x", &[("Sec-WebSocket-Protocol", &long)]),
        ] {
            let status = arena.status(head).await;
            assert!([400, 414, 431].contains(&status), "{status}");
        }
        assert!(arena.reached().is_empty());
        arena.survived().await;
    });
}

/// A response's head that does not end, or has too many lines.
#[test]
fn oversized_heads_of_upstreams_are_502() {
    alone(async {
        let lines = "X: x\r\n".repeat(30_000);
        let long = format!("X: {}\r\n", "x".repeat(1 << 20));
        for lines in [&lines, &long] {
            for status in ["200 OK", "101 Switching Protocols", "103 Early Hints"] {
                let arena = Arena::with_evil(format!("HTTP/1.1 {status}\r\n{lines}\r\n")).await;
                let handshake = handshake_request("/ws/evil", &[]);
                assert_eq!(arena.status(handshake).await, 502, "{status}");
                let plain = request("GET", "/ws/evil", &[]);
                assert_eq!(arena.status(plain).await, 502, "{status}");
                arena.survived().await;
            }
        }
    });
}

#[test]
fn duplicated_hosts_keys_and_versions_are_rejected() {
    alone(async {
        let arena = Arena::start().await;
        let right = [
            ("Host", "app.test"),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ];
        for (name, value, status) in [
            ("Host", "app.test", 400),
            ("Host", "admin.internal", 400),
            ("Sec-WebSocket-Key", KEY, 400),
            ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==", 400),
            ("Sec-WebSocket-Version", "13", 426),
            ("Sec-WebSocket-Version", "8", 426),
        ] {
            let twice = [&right[..], &[(name, value)]].concat();
            let status_of = arena.status(raw_request("/ws/x", &twice)).await;
            assert_eq!(status_of, status, "{name}: {value}");
        }
        let twice = [("Host", "app.test"), ("Host", "admin.internal")];
        assert_eq!(arena.status(raw_request("/ws/x", &twice)).await, 400);
        assert!(arena.reached().is_empty());
        arena.survived().await;
    });
}
