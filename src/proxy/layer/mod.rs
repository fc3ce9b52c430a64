//! The layer and its settings.
//!
//! `proxy_layer` is the type, and how it becomes a service. Its settings are in files by theme:
//! `routing` (which requests, to which upstream, how many), `decisions` (the host's authorization and
//! limits by key), `headers`, `exchanges` (connections to upstreams, timeouts, retries), `tunnels`, and
//! `observation`.

mod decisions;
mod exchanges;
mod headers;
mod observation;
mod proxy_layer;
mod routing;
mod tunnels;

pub use proxy_layer::ProxyLayer;
