//! Abuse of `Connection` (Nathan Davison, "Abusing HTTP hop-by-hop request headers", 2019).

use http::HeaderName;
use wsplice::headers::HeaderEdits;

use super::kit::{Arena, request};
use crate::{alone, support::raw::handshake_request};

/// CVE-2024-45410: `X-Forwarded-*` were named away. CVE-2021-33197 is the same in Go's proxy.
#[test]
fn the_clients_identity_cannot_be_named_away() {
    alone(async {
        let arena = Arena::start().await;
        let names =
            "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Host, Cookie, Authorization";
        let lines = [("Cookie", "a=1"), ("Authorization", "Bearer x")];
        let connection = format!("Upgrade, {names}");
        let handshake = [&lines[..], &[("Connection", &connection)]].concat();
        assert_eq!(
            arena.status(handshake_request("/ws/x", &handshake)).await,
            101
        );
        let connection = format!("Connection: {names}");
        let lines = [&*connection, "Cookie: a=1", "Authorization: Bearer x"];
        assert_eq!(arena.status(request("GET", "/ws/x", &lines)).await, 200);
        // Without the feature `axum` the layer does not learn the address of the client.
        let is_written = |name: &&str| cfg!(feature = "axum") || *name != "X-Forwarded-For";
        for head in arena.upstream.log().heads {
            for name in names.split(", ").filter(is_written) {
                assert!(head.get(name).is_some(), "{name}");
            }
        }
        arena.survived().await;
    });
}

/// RFC 9110 §6.5.1: an upstream may merge trailers into the headers.
#[test]
fn a_header_of_the_host_cannot_be_sent_as_a_trailer() {
    alone(async {
        let user = HeaderName::from_static("x-user-id");
        let edits = HeaderEdits::new().set("x-tenant", "blue").unwrap();
        let arena = Arena::with(|layer| layer.protect_headers([user]).request_headers(edits)).await;
        for trailer in ["X-User-Id", "X_User_Id", "X-Tenant", "X.Tenant"] {
            let lines = ["Transfer-Encoding: chunked", &format!("Trailer: {trailer}")];
            let head = request("POST", "/ws/x", &lines);
            let body = format!("2\r\nhi\r\n0\r\n{trailer}: admin\r\n\r\n");
            // The upstream's script fails the test by any trailer.
            assert_eq!(
                arena.status([&head[..], body.as_bytes()].concat()).await,
                200
            );
        }
        arena.survived().await;
    });
}

/// A function may touch any header, for some requests only: no trailer passes beside one.
#[test]
fn a_header_that_a_function_of_the_host_edits_cannot_be_sent_as_a_trailer() {
    alone(async {
        let edits = HeaderEdits::new().with(|headers| {
            headers.remove("x-internal");
            if headers.contains_key("cookie") {
                headers.insert("x-user-id", http::HeaderValue::from_static("alice"));
            }
        });
        let arena = Arena::with(|layer| layer.request_headers(edits)).await;
        for trailer in ["X-User-Id", "X_User_Id", "X-Internal", "X-Other"] {
            for cookie in ["Cookie: a=1", "X-Cookie: a=1"] {
                let announced = format!("Trailer: {trailer}");
                let lines = ["Transfer-Encoding: chunked", &announced, cookie];
                let head = request("POST", "/ws/x", &lines);
                let body = format!("2\r\nhi\r\n0\r\n{trailer}: admin\r\n\r\n");
                // The upstream's script fails the test by any trailer.
                let status = arena.status([&head[..], body.as_bytes()].concat()).await;
                assert_eq!(status, 200, "{trailer}, {cookie}");
            }
        }
        arena.survived().await;
    });
}

/// CVE-2022-1388: the header of an authentication in front of the application was named away.
#[test]
fn a_header_of_the_host_cannot_be_named_away() {
    alone(async {
        let user = HeaderName::from_static("x-user-id");
        let arena = Arena::with(|layer| layer.protect_headers([user])).await;
        for connection in ["x-user-id", "close, X-USER-ID", "keep-alive,x-user-id,"] {
            let line = format!("Connection: {connection}");
            let lines = [&*line, "X-User-Id: alice"];
            assert_eq!(arena.status(request("GET", "/ws/x", &lines)).await, 400);
            let connection = format!("Upgrade, {connection}");
            let handshake = handshake_request("/ws/x", &[("Connection", &connection)]);
            assert_eq!(arena.status(handshake).await, 400);
        }
        assert!(arena.reached().is_empty());
        arena.survived().await;
        drop(arena);

        // Where an edit sets it, that happens after the removal.
        let edits = HeaderEdits::new()
            .set("x-user-id", "alice")
            .expect("a header");
        let arena = Arena::with(|layer| layer.request_headers(edits)).await;
        let lines = ["Connection: x-user-id", "X-User-Id: mallory"];
        assert_eq!(arena.status(request("GET", "/ws/x", &lines)).await, 200);
        assert_eq!(arena.last_head().get("x-user-id"), Some("alice"));
        arena.survived().await;
    });
}

#[test]
fn headers_of_one_connection_stay_on_it() {
    alone(async {
        let arena = Arena::start().await;
        let lines = [
            "Connection: close, x-named",
            "X-Named: 1",
            "Keep-Alive: timeout=1",
            "Proxy-Connection: keep-alive",
            "Proxy-Authorization: Basic x",
            "TE: gzip",
            "Trailer: x",
            "Upgrade: foo",
            "ALPN: h2",
        ];
        assert_eq!(arena.status(request("GET", "/ws/x", &lines)).await, 200);
        let up = arena.last_head();
        for line in lines {
            let name = line.split(':').next().expect("a name");
            assert_eq!(up.get(name), None, "{line}");
        }
        arena.survived().await;
    });
}
