//! Admin listener: metrics, and the health endpoints of load balancers and Kubernetes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use wsplice::Drain;

use crate::connection::Serving;
use crate::listener::Listener;
use crate::shutdown::{self, Phase};

/// Bound on the head of a request to the admin listener.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Running admin listener, which ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    _serving: JoinSet<io::Result<()>>,
    /// Never sends: the listener has no part in the gateway's drain, which it is to show.
    _phase: watch::Sender<Phase>,
}

impl Admin {
    /// Serves the listener in a task of its own.
    pub(crate) fn start(listener: Listener, registry: Registry, drain: Drain) -> Self {
        let (phase, shutdown) = shutdown::channel();
        let mut serving = JoinSet::new();
        let admin = Serving {
            app: router(registry, drain),
            registry: wsplice::Registry::new(),
            header_timeout: HEADER_TIMEOUT,
        };
        serving.spawn(listener.serve(admin, shutdown));
        Self {
            _serving: serving,
            _phase: phase,
        }
    }
}

/// Serves `/metrics`, `/livez` and `/readyz`.
fn router(registry: Registry, drain: Drain) -> Router {
    let registry = Arc::new(registry);
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async move { readiness(&drain) }))
        .route(
            "/metrics",
            get(|headers: HeaderMap| async move { metrics(&registry, &headers) }),
        )
}

/// Not ready while draining, so that load balancers send their clients elsewhere.
fn readiness(drain: &Drain) -> (StatusCode, &'static str) {
    match drain.is_draining() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        false => (StatusCode::OK, "ok\n"),
    }
}

fn metrics(registry: &Registry, headers: &HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    match wsplice_prometheus::encode(registry, accept) {
        Ok(exposition) => {
            let content_type = [(header::CONTENT_TYPE, exposition.content_type)];
            (content_type, exposition.body).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};

    use crate::tests::{TestGateway, get};

    #[tokio::test]
    async fn metrics_are_served_in_the_format_that_is_accepted() {
        let gateway = TestGateway::start(&[]).await;
        let mut socket = gateway.open("/ws/echo").await.unwrap();
        socket.send("hello".into()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), "hello".into());
        let text = get(gateway.admin, "/metrics", "").await;
        assert!(
            text.contains("Content-Type: text/plain; version=0.0.4"),
            "{text}"
        );
        let accepted = "outcome=\"accepted\",status=\"101\"} 1\n";
        assert!(text.contains(accepted), "{text}");
        let accept = "accept: application/openmetrics-text\r\n";
        let text = get(gateway.admin, "/metrics", accept).await;
        assert!(
            text.contains("Content-Type: application/openmetrics-text"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[tokio::test]
    async fn nothing_of_the_admin_listener_is_served_to_clients_nor_of_the_site_to_admins() {
        let gateway = TestGateway::start(&[]).await;
        for path in ["/metrics", "/livez", "/readyz"] {
            assert!(
                gateway.get(path).await.starts_with("HTTP/1.1 404 "),
                "{path}"
            );
        }
        for path in ["/", "/ws/echo", "/metrics/x"] {
            let response = get(gateway.admin, path, "").await;
            assert!(response.starts_with("HTTP/1.1 404 "), "{path}: {response}");
        }
    }

    #[tokio::test]
    async fn the_gateway_is_live_but_not_ready_until_its_drain_is_over() {
        let gateway = TestGateway::start(&["--drain-spread=0s", "--drain-timeout=1h"]).await;
        let mut socket = gateway.open("/ws/echo").await.unwrap();
        let ready = get(gateway.admin, "/readyz", "").await;
        assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
        gateway.stop.send(()).await.unwrap();
        // The client has not answered the close frame until its next read.
        while get(gateway.admin, "/readyz", "")
            .await
            .starts_with("HTTP/1.1 200 ")
        {}
        let ready = get(gateway.admin, "/readyz", "").await;
        assert!(
            ready.starts_with("HTTP/1.1 503 ") && ready.ends_with("draining\n"),
            "{ready}"
        );
        let live = get(gateway.admin, "/livez", "").await;
        assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
        let metrics = get(gateway.admin, "/metrics", "").await;
        assert!(
            metrics.contains("\nwsplice_draining{pool=\"main\"} 1\n"),
            "{metrics}"
        );
        while socket.next().await.is_some() {}
        gateway.exit.await.unwrap().unwrap();
    }
}
