//! The tables: which figures of which scenarios they show.

use super::names::{CPU, FLOOR, HANDSHAKE, HAPROXY, RATE, RESIDENT};

/// A table: its heading, and of which scenarios and figures its columns are.
pub(super) struct Table {
    pub(super) heading: &'static str,
    pub(super) columns: &'static [Column],
    pub(super) shows: Shows,
}

pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) scenario: &'static str,
    pub(super) figure: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// Multiples of this subject's figure of the same round.
    Over(&'static str),
    /// The figure itself.
    Figures,
}

const fn column(title: &'static str, scenario: &'static str, figure: &'static str) -> Column {
    Column {
        title,
        scenario,
        figure,
    }
}

pub(super) const TABLES: &[Table] = &[
    Table {
        heading: "CPU of the proxy per message, × raw-shared",
        columns: &[
            column("16 B, 64", "echo-16b-64", CPU),
            column("16 B, 512", "echo-16b-512", CPU),
            column("1 KiB, 64", "echo-1k-64", CPU),
            column("1 KiB, 512", "echo-1k-512", CPU),
            column("64 KiB, 64", "echo-64k-64", CPU),
            column("256 KiB, 16", "echo-256k-16", CPU),
            column("1 MiB, 8", "echo-1m-8", CPU),
            column("16 B × 16, 64", "echo-16b-x16-64", CPU),
        ],
        shows: Shows::Over(FLOOR),
    },
    Table {
        heading: "Round trips per second, × raw-shared",
        columns: &[
            column("16 B, 64", "echo-16b-64", RATE),
            column("16 B, 512", "echo-16b-512", RATE),
            column("1 KiB, 64", "echo-1k-64", RATE),
            column("1 KiB, 512", "echo-1k-512", RATE),
            column("64 KiB, 64", "echo-64k-64", RATE),
            column("16 B × 16, 64", "echo-16b-x16-64", RATE),
        ],
        shows: Shows::Over(FLOOR),
    },
    Table {
        heading: "One way, 1 MiB messages, 8 connections, × raw-shared",
        columns: &[
            column("GB/s down", "down-1m", "gb_per_second"),
            column("CPU per GiB down", "down-1m", "cpu_ms_per_gib"),
            column("GB/s up", "up-1m", "gb_per_second"),
            column("CPU per GiB up", "up-1m", "cpu_ms_per_gib"),
        ],
        shows: Shows::Over(FLOOR),
    },
    Table {
        heading: "Latency of 8 busy among 1,000 quiet, and handshakes (16 at a time), × raw-shared",
        columns: &[
            column("p50", "latency-1000-8", "p50_us"),
            column("p99", "latency-1000-8", "p99_us"),
            column("p99.9", "latency-1000-8", "p999_us"),
            column("CPU per handshake", "handshake-16", HANDSHAKE),
            column("handshakes/s", "handshake-16", "handshakes_per_second"),
        ],
        shows: Shows::Over(FLOOR),
    },
    Table {
        heading: "Latency of 8 busy among 9,600 quiet, µs",
        columns: &[
            column("p50", "latency-9600-8", "p50_us"),
            column("p99", "latency-9600-8", "p99_us"),
            column("p99.9", "latency-9600-8", "p999_us"),
        ],
        shows: Shows::Figures,
    },
    Table {
        heading: "Memory per quiet tunnel, bytes",
        columns: &[
            column("RSS, 1,000", "memory-1000", RESIDENT),
            column("RSS, 10,000", "memory-10000", RESIDENT),
            column("heap, 1,000", "memory-1000", "heap_bytes_per_tunnel"),
            column("heap, 10,000", "memory-10000", "heap_bytes_per_tunnel"),
        ],
        shows: Shows::Figures,
    },
    Table {
        heading: "16 B of 8 connections, by themselves and beside 8 floods",
        columns: &[
            column("p50 alone, µs", "fairness-8-8", "p50_us_alone"),
            column("p50 beside", "fairness-8-8", "p50_us_beside"),
            column("p99 alone, µs", "fairness-8-8", "p99_us_alone"),
            column("p99 beside", "fairness-8-8", "p99_us_beside"),
            column("p99, ratio", "fairness-8-8", "p99_ratio"),
            column("GB/s of the floods", "fairness-8-8", "gb_per_second"),
            column("CPU ms per GiB", "fairness-8-8", "cpu_ms_per_gib"),
        ],
        shows: Shows::Figures,
    },
    Table {
        heading: "Forwarded requests, × raw-shared",
        columns: &[
            column("CPU per GET, 64", "http-get-64", CPU),
            column("GET/s", "http-get-64", RATE),
            column("GB/s down, 8", "http-download-8", "gb_per_second"),
            column("CPU per GiB down", "http-download-8", "cpu_ms_per_gib"),
            column("GB/s up, 8", "http-upload-8", "gb_per_second"),
            column("CPU per GiB up", "http-upload-8", "cpu_ms_per_gib"),
        ],
        shows: Shows::Over(FLOOR),
    },
    Table {
        heading: "TLS at the edge: CPU, × haproxy",
        columns: &[
            column("16 B, 64", "tls-echo-16b-64", CPU),
            column("1 KiB, 64", "tls-echo-1k-64", CPU),
            column("64 KiB, 64", "tls-echo-64k-64", CPU),
            column("per GiB down", "tls-down-1m", "cpu_ms_per_gib"),
            column("per GiB up", "tls-up-1m", "cpu_ms_per_gib"),
            column("handshake", "tls-handshake-16", HANDSHAKE),
            column("resumed", "tls-resumption-16", HANDSHAKE),
        ],
        shows: Shows::Over(HAPROXY),
    },
    Table {
        heading: "TLS at the edge: memory per quiet tunnel, bytes",
        columns: &[
            column("RSS, 1,000", "tls-memory-1000", RESIDENT),
            column("RSS, 10,000", "tls-memory-10000", RESIDENT),
            column("heap, 1,000", "tls-memory-1000", "heap_bytes_per_tunnel"),
            column("heap, 10,000", "tls-memory-10000", "heap_bytes_per_tunnel"),
        ],
        shows: Shows::Figures,
    },
    Table {
        heading: "HTTP/2, 100 tunnels on a connection: CPU, × haproxy",
        columns: &[
            column("16 B, 100", "http2-echo-16b-100", CPU),
            column("1 KiB, 100", "http2-echo-1k-100", CPU),
            column("64 KiB, 100", "http2-echo-64k-100", CPU),
            column("tunnel opened and closed, 16", "http2-tunnel-16", HANDSHAKE),
        ],
        shows: Shows::Over(HAPROXY),
    },
    Table {
        heading: "HTTP/2, 100 tunnels on a connection: memory per quiet tunnel, bytes",
        columns: &[
            column("RSS, 1,000", "http2-memory-1000", RESIDENT),
            column("RSS, 10,000", "http2-memory-10000", RESIDENT),
            column("heap, 1,000", "http2-memory-1000", "heap_bytes_per_tunnel"),
            column(
                "heap, 10,000",
                "http2-memory-10000",
                "heap_bytes_per_tunnel",
            ),
        ],
        shows: Shows::Figures,
    },
    Table {
        heading: "System calls per operation (strace)",
        columns: &[
            column("16 B, 64", "syscalls-echo-16b-64", "calls_per_op"),
            column("64 KiB, 64", "syscalls-echo-64k-64", "calls_per_op"),
            column("handshake", "syscalls-handshake-16", "calls_per_op"),
        ],
        shows: Shows::Figures,
    },
    Table {
        heading: "10,000 quiet tunnels pinged every 20 s on both legs",
        columns: &[
            column("% of a core", "pinged", "percent_of_a_core"),
            column("CPU µs per pair of pings", "pinged", "cpu_us_per_ping_pair"),
        ],
        shows: Shows::Figures,
    },
];
