//! Metrics and a status page around a subject.

use std::sync::Arc;

use axum::{Router, routing::get};
use prometheus_client::registry::Registry;
use wsplice::{ForwardHttp, Pool, ProxyLayer};
use wsplice_prometheus::{Metrics, encode};
use wsplice_status::Status;

/// Wraps the router in the layer, with metrics and a status page beside it.
pub fn watched(app: Router, layer: ProxyLayer<ForwardHttp>, pool: &Pool) -> Router {
    let mut registry = Registry::default();
    let layer = Metrics::register(&mut registry).observe_as("bench", layer);
    let status = Status::new().pool_as("bench", pool);
    let layer = layer.observer(status.observer());
    let status = status.registry(&layer.registry()).into_service();
    let registry = Arc::new(registry);
    let metrics =
        get(async move || encode(&registry, None).map_or_else(|_| String::new(), |it| it.body));
    app.route("/metrics", metrics)
        .route_service("/status", status)
        .layer(layer)
}
