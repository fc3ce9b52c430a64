//! Clients that claim to be others.

use super::kit::{Arena, request};
use crate::{alone, support::raw::handshake_request};

#[test]
fn forged_forwarded_headers_are_dropped() {
    alone(async {
        let arena = Arena::start().await;
        let forged = [
            "X-Forwarded-For: 127.0.0.1",
            "X-Forwarded-For: 10.0.0.1",
            "x-forwarded-proto: https",
            "X-Forwarded-Host: admin.internal",
            "X-Forwarded-Port: 1",
            "X-Forwarded-Prefix: /admin",
            "X-Forwarded-Client-Cert: x",
            "X-Real-IP: 127.0.0.1",
            "Forwarded: for=127.0.0.1;host=admin.internal",
        ];
        assert_eq!(arena.status(request("GET", "/ws/x", &forged)).await, 200);
        let up = arena.last_head();
        let raw = String::from_utf8_lossy(&up.raw);
        assert!(!raw.contains("10.0.0.1") && !raw.contains("admin"), "{raw}");
        assert_eq!(up.get("x-forwarded-host"), Some("app.test"));
        assert_eq!(up.all("x-forwarded-proto").collect::<Vec<_>>(), ["http"]);
        for absent in ["forwarded", "x-real-ip", "x-forwarded-port"] {
            assert_eq!(up.get(absent), None);
        }
        arena.survived().await;
    });
}

/// GHSA-f59h-q822-g45g, GHSA-5m6w-wvh7-57vm: `X_Forwarded_For` becomes the same variable of a CGI.
#[test]
fn aliases_of_managed_headers_are_dropped() {
    alone(async {
        let arena = Arena::start().await;
        for alias in [
            "X_Forwarded_For",
            "X_FORWARDED-FOR",
            "X.Forwarded.For",
            "X-Forwarded_Proto",
            "X_Real_IP",
            "Content_Length",
            "Transfer_Encoding",
            "Transfer.Encoding",
            "Proxy_Authorization",
            "Sec_WebSocket_Protocol",
        ] {
            let line = format!("{alias}: 127.0.0.1");
            assert_eq!(arena.status(request("GET", "/ws/x", &[&line])).await, 200);
            assert_eq!(arena.last_head().get(alias), None, "{alias}");
            let handshake = handshake_request("/ws/x", &[(alias, "127.0.0.1")]);
            assert_eq!(arena.status(handshake).await, 101);
            assert_eq!(arena.last_head().get(alias), None, "{alias}");
        }
        arena.survived().await;
    });
}
