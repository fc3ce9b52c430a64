//! Metrics of [wsplice] for Prometheus, in its text format or as OpenMetrics.
//!
//! [`Metrics`] puts its metrics into a [`Registry`] of the host's own, beside other metrics, and
//! observes any number of layers. [`encode`] writes them in the format that the scraper accepts.
//!
//! # Example
//!
//! ```
//! use prometheus_client::registry::Registry;
//! use wsplice::{Pool, ProxyLayer};
//! use wsplice_prometheus::{Metrics, encode};
//!
//! let mut registry = Registry::default();
//! let metrics = Metrics::register(&mut registry);
//!
//! let chat = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?.build();
//! let layer = metrics.observe_as("chat", ProxyLayer::new(chat));
//!
//! // In the handler of `/metrics`:
//! let accept = Some("text/plain");
//! let exposition = encode(&registry, accept)?;
//! assert_eq!(exposition.content_type, "text/plain; version=0.0.4; charset=utf-8");
//! assert!(exposition.body.contains("wsplice_upstream_healthy"));
//! # let _ = layer;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
#![doc = include_str!("../metrics.md")]
//!
//! [wsplice]: https://docs.rs/wsplice
//! [`Registry`]: prometheus_client::registry::Registry
#![forbid(unsafe_code)]

mod collector;
mod distinct;
mod exposition;
mod family;
mod figures;
mod labels;
mod layer_observer;
mod metrics;
mod observed;
mod pool_observer;
mod series;
mod set;
mod shared;
mod watched;

pub use exposition::{Exposition, encode};
pub use metrics::Metrics;

/// Compiles the examples of the quick start, which serves the metrics.
#[cfg(doctest)]
#[doc = include_str!("../../docs/quick-start.md")]
struct QuickStart;
