//! The goals, and the subjects that they apply to.

use super::names::{CPU, FLOOR, HANDSHAKE, HAPROXY, RESIDENT};

/// A goal: a ratio of our figure to another's of the same round, and its bound.
pub(super) struct Goal {
    pub(super) what: &'static str,
    pub(super) scenario: &'static str,
    pub(super) figure: &'static str,
    /// Nothing where the figure itself has the bound.
    pub(super) over: Option<&'static str>,
    pub(super) bound: Bound,
}

pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

const OURS: &str = "wsplice-keepalive";

/// The subjects that the goals apply to; the second is the same with a runtime for each core.
pub(super) const JUDGED: [&str; 2] = [OURS, "wsplice-per-core"];

const fn at_most(
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    over: &'static str,
    bound: f64,
) -> Goal {
    Goal {
        what,
        scenario,
        figure,
        over: Some(over),
        bound: Bound::AtMost(bound),
    }
}

const fn at_least(
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    over: &'static str,
    bound: f64,
) -> Goal {
    Goal {
        bound: Bound::AtLeast(bound),
        ..at_most(what, scenario, figure, over, bound)
    }
}

const fn absolute(
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    bound: f64,
) -> Goal {
    Goal {
        over: None,
        ..at_most(what, scenario, figure, "", bound)
    }
}

pub(super) const GOALS: &[Goal] = &[
    at_most("CPU 16 B, 64 / floor", "echo-16b-64", CPU, FLOOR, 1.05),
    at_most("CPU 16 B, 512 / floor", "echo-16b-512", CPU, FLOOR, 1.05),
    at_most("CPU 1 KiB, 64 / floor", "echo-1k-64", CPU, FLOOR, 1.05),
    at_most("CPU 1 KiB, 512 / floor", "echo-1k-512", CPU, FLOOR, 1.05),
    at_most("CPU 16 B, 64 / HAProxy", "echo-16b-64", CPU, HAPROXY, 1.0),
    at_most("CPU 16 B, 512 / HAProxy", "echo-16b-512", CPU, HAPROXY, 1.0),
    at_most("CPU 1 KiB, 64 / HAProxy", "echo-1k-64", CPU, HAPROXY, 1.0),
    at_most("CPU 1 KiB, 512 / HAProxy", "echo-1k-512", CPU, HAPROXY, 1.0),
    at_most("CPU 16 B, 64 / nginx", "echo-16b-64", CPU, "nginx", 1.0),
    at_most("CPU 16 B, 512 / nginx", "echo-16b-512", CPU, "nginx", 1.0),
    at_most("CPU 1 KiB, 64 / nginx", "echo-1k-64", CPU, "nginx", 1.0),
    at_most("CPU 1 KiB, 512 / nginx", "echo-1k-512", CPU, "nginx", 1.0),
    at_most("CPU 64 KiB / floor", "echo-64k-64", CPU, FLOOR, 1.05),
    at_most(
        "CPU 64 KiB / axum-reverse-proxy",
        "echo-64k-64",
        CPU,
        "axum-reverse-proxy",
        0.30,
    ),
    at_most("CPU 256 KiB / floor", "echo-256k-16", CPU, FLOOR, 1.05),
    at_most("CPU 1 MiB / floor", "echo-1m-8", CPU, FLOOR, 1.05),
    at_most(
        "CPU 64 KiB / nginx-256k",
        "echo-64k-64",
        CPU,
        "nginx-256k",
        1.0,
    ),
    at_most(
        "CPU 256 KiB / nginx-256k",
        "echo-256k-16",
        CPU,
        "nginx-256k",
        1.0,
    ),
    at_most(
        "CPU 1 MiB / nginx-256k",
        "echo-1m-8",
        CPU,
        "nginx-256k",
        1.0,
    ),
    absolute(
        "p99 beside floods / alone",
        "fairness-8-8",
        "p99_ratio",
        2.0,
    ),
    at_least("GB/s down / floor", "down-1m", "gb_per_second", FLOOR, 0.95),
    at_least("GB/s up / floor", "up-1m", "gb_per_second", FLOOR, 0.95),
    at_least(
        "GB/s down / HAProxy",
        "down-1m",
        "gb_per_second",
        HAPROXY,
        1.3,
    ),
    at_least("GB/s up / HAProxy", "up-1m", "gb_per_second", HAPROXY, 1.3),
    at_most("p99 / floor", "latency-1000-8", "p99_us", FLOOR, 1.1),
    at_most(
        "handshake / HAProxy",
        "handshake-16",
        HANDSHAKE,
        HAPROXY,
        1.0,
    ),
    at_most("handshake / nginx", "handshake-16", HANDSHAKE, "nginx", 1.0),
    absolute(
        "heap per tunnel, B",
        "memory-10000",
        "heap_bytes_per_tunnel",
        2048.0,
    ),
    absolute("RSS per tunnel, B", "memory-10000", RESIDENT, 2560.0),
    absolute("pings, % of a core", "pinged", "percent_of_a_core", 1.15),
];

pub(super) const TLS_JUDGED: [&str; 2] = ["wsplice-tls-ring", "wsplice-tls-aws-lc"];

/// TLS at the edge beside the other proxies.
pub(super) const TLS_GOALS: &[Goal] = &[
    at_most("TLS 16 B / HAProxy", "tls-echo-16b-64", CPU, HAPROXY, 1.0),
    at_most("TLS 16 B / nginx", "tls-echo-16b-64", CPU, "nginx", 1.0),
    at_most("TLS 1 KiB / HAProxy", "tls-echo-1k-64", CPU, HAPROXY, 1.0),
    at_most("TLS 1 KiB / nginx", "tls-echo-1k-64", CPU, "nginx", 1.0),
    at_most("TLS 64 KiB / HAProxy", "tls-echo-64k-64", CPU, HAPROXY, 1.0),
    at_most("TLS 64 KiB / nginx", "tls-echo-64k-64", CPU, "nginx", 1.0),
    at_most(
        "TLS memory / HAProxy",
        "tls-memory-10000",
        RESIDENT,
        HAPROXY,
        1.0,
    ),
    at_most(
        "TLS memory / nginx",
        "tls-memory-10000",
        RESIDENT,
        "nginx",
        1.0,
    ),
];

/// Cost of a program of the gateway beside another proxy.
pub(super) const GATEWAY_GOALS: &[Goal] = &[at_most(
    "handshake / HAProxy",
    "handshake-16",
    HANDSHAKE,
    HAPROXY,
    1.1,
)];

pub(super) const SCRAPED: &str = "wsplice-scraped";
const UNSCRAPED: &str = "wsplice";

/// What metrics and a status page may cost that are read every second.
pub(super) const SCRAPED_GOALS: &[Goal] = &[
    at_most(
        "CPU 16 B, 64 / without",
        "echo-16b-64",
        CPU,
        UNSCRAPED,
        1.02,
    ),
    at_most(
        "CPU 16 B, 512 / without",
        "echo-16b-512",
        CPU,
        UNSCRAPED,
        1.02,
    ),
    at_most(
        "p99 beside 9,600 / without",
        "latency-9600-8",
        "p99_us",
        UNSCRAPED,
        1.2,
    ),
];
