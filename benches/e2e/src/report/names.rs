//! Names that the tables and the goals have in common.

/// The floor that everything is compared with.
pub const FLOOR: &str = "raw-shared";

/// The proxy that TLS, HTTP/2 and the gateway are compared with.
pub const HAPROXY: &str = "haproxy";

// Figures of samples.
pub const CPU: &str = "cpu_us_per_message";
pub const RATE: &str = "messages_per_second";
pub const HANDSHAKE: &str = "cpu_us_per_handshake";
pub const RESIDENT: &str = "rss_bytes_per_tunnel";
