//! Paths and hosts that lead out of the route.

use wsplice::matcher::{Matcher, host, not, path};

use super::kit::{Arena, request};
use crate::{alone, support::raw::handshake_request};

/// CVE-2021-41773, CVE-2021-42013: escaped dots, twice. CVE-2020-5902: `..;/`. CVE-2021-29492:
/// escaped slashes.
#[test]
fn no_spelling_of_a_path_leaves_the_route() {
    alone(async {
        let arena = Arena::start().await;
        for target in [
            "/ws/../private",
            "/ws/%2e%2e/private",
            "/ws/.%2e/private",
            "/ws/%252e%252e/private",
            "/ws/%%32%65%%32%65/private",
            "/ws/..;/private",
            "/ws/..;x=1/private",
            "/ws/..%2fprivate",
            "/ws/..%5cprivate",
            "/ws/..\\private",
            "/ws/..%c0%afprivate",
            "/ws/%c0%ae%c0%ae/private",
            "/ws/..%00/private",
            "/ws/.%09./private",
            "/ws/.%0a./private",
            "/ws/..%3f/private",
            "/ws/..%20/private",
            "/ws/%u002e%u002e/private",
            "/ws/%ef%bc%8e%ef%bc%8e/private",
            "/ws/..%ef%bc%8fprivate",
            "/ws/x/..//../private",
            "//ws/../private",
        ] {
            for bytes in [request("GET", target, &[]), handshake_request(target, &[])] {
                arena.status(bytes).await;
                assert!(
                    arena.reached().is_empty(),
                    "{target}: {:?}",
                    arena.reached()
                );
            }
        }
        arena.survived().await;
    });
}

#[test]
fn no_spelling_of_a_host_leaves_the_route() {
    alone(async {
        let public = path("/ws/*").and(not(host("admin.internal")));
        let arena = Arena::with(|layer| layer.matching(public)).await;
        for name in [
            "admin.internal",
            "ADMIN.internal",
            "admin.internal.",
            "admin.internal:80",
            "admin.internal:",
            "admin.internal:99999",
            "user@admin.internal",
            "app.test, admin.internal",
            "app.test admin.internal",
            "admin.internal/ws",
            "admin%2einternal",
            "admin.internal#",
            "\u{ff41}dmin.internal",
            "[::1",
        ] {
            for bytes in [
                format!("GET /ws/x HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes(),
                handshake_request("/ws/x", &[("Host", name)]),
                format!("GET http://{name}/ws/x HTTP/1.1\r\nHost: app.test\r\n\r\n").into_bytes(),
            ] {
                arena.status(bytes).await;
                assert!(arena.reached().is_empty(), "{name}: {:?}", arena.reached());
            }
        }
        // A target that names a host goes before the header (RFC 9112 §3.2.2), both ways.
        let absolute = "GET http://app.test/ws/x HTTP/1.1\r\nHost: admin.internal\r\n\r\n";
        assert_eq!(arena.status(absolute).await, 200);
        assert_eq!(arena.last_head().get("host"), Some("app.test"));
        arena.survived().await;
    });
}

/// A plain `CONNECT` and targets that are no paths make the proxy no open proxy.
#[test]
fn no_target_makes_it_an_open_proxy() {
    alone(async {
        let arena =
            Arena::with(|layer| layer.matching(|_: &wsplice::head::RequestHead<'_>| true)).await;
        for line in [
            "CONNECT 127.0.0.1:1 HTTP/1.1",
            "CONNECT /ws/x HTTP/1.1",
            "GET 127.0.0.1:1 HTTP/1.1",
            "GET ws/x HTTP/1.1",
            "GET * HTTP/1.1",
            "GET ?x HTTP/1.1",
        ] {
            let bytes = format!("{line}\r\nHost: app.test\r\n\r\n");
            arena.status(bytes).await;
            assert!(arena.reached().is_empty(), "{line}");
        }
        // An absolute target names a host, not a connection to it.
        let absolute = "GET http://127.0.0.1:1/ws/x HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n";
        assert_eq!(arena.status(absolute).await, 200);
        assert_eq!(arena.reached(), ["/ws/x"]);
        // No request is reflected (cross-site tracing).
        let trace = request("TRACE", "/ws/x", &["Cookie: a=1"]);
        assert_eq!(arena.status(trace).await, 405);
        arena.survived_with_all_paths().await;
    });
}
