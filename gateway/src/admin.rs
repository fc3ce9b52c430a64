//! Admin listener: the status page, metrics, and the health endpoints of load balancers and
//! Kubernetes.

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
use wsplice::{Drain, ProxyLayer};
use wsplice_prometheus::Metrics;
use wsplice_status::{Status, StatusService};

use crate::app::App;
use crate::args::Args;
use crate::arrival::Arrival;
use crate::connection::Serving;
use crate::listener::Listener;
use crate::shutdown::{self, Phase};

/// Bound on the head of a request to the admin listener.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Views of a proxy that the admin listener serves.
#[derive(Debug)]
pub(crate) struct Views {
    registry: Registry,
    drain: Drain,
    status: StatusService,
}

impl Views {
    /// Observes the layer from now on.
    pub(crate) fn observe<T>(args: &Args, layer: ProxyLayer<T>) -> (Self, ProxyLayer<T>) {
        let mut registry = Registry::default();
        let layer = Metrics::register(&mut registry).observe(layer);
        let mut status = Status::new()
            .pool(&layer.pool())
            .registry(&layer.registry())
            .drained_tunnels(args.tunnels.removed_tunnels());
        for name in &args.admin.admin_host {
            status = status.host_name(name);
        }
        if args.admin.admin_actions {
            status = status.allow_actions();
        }
        let layer = layer.observer(status.observer());
        let views = Self {
            registry,
            drain: layer.drain(),
            status: status.into_service(),
        };
        (views, layer)
    }
}

/// Running admin listener, which ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    _serving: JoinSet<io::Result<()>>,
    /// Never sends: the listener has no part in the gateway's drain, which it is to show.
    _phase: watch::Sender<Phase>,
}

impl Admin {
    /// Serves the listener in a task of its own.
    pub(crate) fn start(listener: Listener, views: Views) -> Self {
        let (phase, shutdown) = shutdown::channel();
        let mut serving = JoinSet::new();
        let app = App::Router(router(views));
        let admin = Serving::new(app, HEADER_TIMEOUT);
        // The gateway's drain does not wait for this listener.
        let arrival = Arrival::unwatched();
        serving.spawn(listener.serve(admin, shutdown, arrival));
        Self {
            _serving: serving,
            _phase: phase,
        }
    }
}

/// Serves the status page at `/`, `/status.json`, `/metrics`, `/livez` and `/readyz`.
fn router(views: Views) -> Router {
    let Views {
        registry,
        drain,
        status,
    } = views;
    let registry = Arc::new(registry);
    Router::new()
        .route_service("/", status.clone())
        .route_service("/status.json", status)
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

    use crate::tests::{TestGateway, get, send};

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
        for path in ["/metrics", "/livez", "/readyz", "/status.json"] {
            assert!(
                gateway.get(path).await.starts_with("HTTP/1.1 404 "),
                "{path}"
            );
        }
        for path in ["/ws/echo", "/metrics/x"] {
            let response = get(gateway.admin, path, "").await;
            assert!(response.starts_with("HTTP/1.1 404 "), "{path}: {response}");
        }
    }

    #[tokio::test]
    async fn the_status_page_shows_open_and_ended_websockets() {
        let gateway = TestGateway::start(&["--admin-host=admin.example"]).await;
        let mut socket = gateway.open("/ws/echo").await.unwrap();
        let page = get(gateway.admin, "/", "").await;
        assert!(page.contains("<td class=\"long\">/ws/echo</td>"), "{page}");
        assert!(!page.contains("data-action"), "{page}");
        socket.close(None).await.unwrap();
        while socket.next().await.is_some() {}
        // The report is made after the client has seen the close.
        let mut document;
        while {
            document = get(gateway.admin, "/status.json", "").await;
            document.contains("\"recent\":[]")
        } {}
        assert!(document.contains("\"cause\":\"closed\""), "{document}");
    }

    #[tokio::test]
    async fn an_action_is_refused_unless_it_is_switched_on() {
        async fn post(gateway: &TestGateway, id: u64) -> String {
            let action = format!(r#"{{"action": "close_tunnel", "id": {id}}}"#);
            let length = action.len();
            let headers = format!("content-type: application/json\r\ncontent-length: {length}\r\n");
            send(gateway.admin, "POST", "/", &headers, &action).await
        }
        let gateway = TestGateway::start(&[]).await;
        assert!(post(&gateway, 1).await.starts_with("HTTP/1.1 403 "));
        let gateway = TestGateway::start(&["--admin-actions"]).await;
        let mut socket = gateway.open("/ws/echo").await.unwrap();
        let status = get(gateway.admin, "/status.json", "").await;
        let (_, id) = status.split_once(r#""id":"#).unwrap();
        let (id, _) = id.split_once(',').unwrap();
        let response = post(&gateway, id.parse().unwrap()).await;
        assert!(response.starts_with("HTTP/1.1 204 "), "{response}");
        let closed = socket.next().await.unwrap().unwrap();
        assert!(closed.is_close(), "{closed:?}");
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
