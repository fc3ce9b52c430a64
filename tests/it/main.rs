//! Integration tests: real sockets, real clients.
//!
//! One binary, one file per behavior; [`support`] is the kit they are written with.
// Clippy's "allow in tests" covers `#[test]` functions only, and the kit fails a test by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;
mod support_works;

mod authorization;
mod balance;
mod cases;
mod client_stream;
#[cfg(feature = "http2")]
mod clock_burst;
mod clock_close;
mod clock_drain;
mod clock_handshake;
mod clock_health;
mod clock_host;
mod clock_keep_alive;
mod clock_kit;
mod clock_life;
mod clock_limits;
mod clock_listed;
mod clock_opaque;
mod clock_own_close;
mod clock_ping_places;
mod clock_pongs;
mod clock_queue;
mod clock_reports;
mod clock_retry;
mod clock_stall;
mod clock_timers;
mod clock_upstreams;
#[cfg(feature = "dns")]
mod discovery_dns;
mod drain_sockets;
mod ends_kit;
mod errors;
mod examples;
mod forward;
mod handshake;
mod health;
mod host_panics;
mod hosts;
#[cfg(feature = "http2")]
mod http2;
#[cfg(feature = "http2")]
mod http2_late_frames;
#[cfg(feature = "http2")]
mod http2_load;
#[cfg(feature = "http2")]
mod http2_paths;
#[cfg(feature = "http2")]
mod http2_sharing;
#[cfg(all(feature = "http2", feature = "ring"))]
mod http2_tls;
#[cfg(feature = "http2")]
mod http2_upstream;
mod import_law;
mod logs;
mod mounting;
mod moves;
#[cfg(target_os = "linux")]
mod notsent_lowat;
mod odd_requests;
mod parsers_kit;
mod pool;
mod property_ends;
mod property_garbage;
mod property_inject;
mod property_parsers;
mod property_reattach;
mod public_types;
mod reattach;
mod reattach_clients;
mod reattach_hook;
mod reattach_kit;
mod recorded_paths;
mod registry_sockets;
mod retry;
#[cfg(target_os = "linux")]
mod source_ports;
#[cfg(feature = "sticky")]
mod sticky;
mod tcp_keep_alive;
mod tls_client;
#[cfg(feature = "ring")]
mod tls_paths;
#[cfg(feature = "ring")]
mod tls_upstream;
mod tunnel_alone;
mod tunnel_data;
mod tunnel_ends;
mod tunnel_load;
mod tunnel_memory;
mod tunnel_paths;
mod tunnel_scenes;
mod tunnel_slow_reader;
