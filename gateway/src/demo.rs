//! Demo: its settings, and what its page shows and does beside the WebSocket.
//!
//! | request | |
//! |---|---|
//! | `GET /demo` | whether the demo upstream is running, and the gateway's ping round trips, as JSON |
//! | `POST /demo/kill`, `POST /demo/start` | 204; 403 without the header `X-Demo`, which pages of other sites cannot send |

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use wsplice::{
    Registry,
    tunnel::registry::{LegStatus, TunnelStatus},
};

use crate::args::{Args, DurationOrOff};
use crate::demo_upstream::DemoUpstream;

/// Header of requests that the page makes.
const FROM_THE_PAGE: &str = "x-demo";

/// Time to start the demo upstream again while the page's WebSocket lives on.
const REATTACH: Duration = Duration::from_secs(60);

/// Keep-alive interval, so that round trips are seen soon.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Restarts of the demo upstream that a WebSocket outlives in a minute.
const RESTARTS: usize = 100;

/// State of the demo.
#[derive(Clone, Debug)]
struct Demo {
    upstream: Arc<DemoUpstream>,
    registry: Registry,
}

/// Returns the arguments with the settings of the demo: WebSockets live on without their upstream.
pub(crate) fn with_defaults(mut args: Args) -> Args {
    let tunnels = &mut args.tunnels;
    if tunnels.reattach.limit().is_none() {
        tunnels.reattach = DurationOrOff::After(REATTACH);
        tunnels.reattach_limit = tunnels.reattach_limit.max(RESTARTS);
    }
    if let Some(interval) = tunnels.keep_alive.limit() {
        tunnels.keep_alive = DurationOrOff::After(interval.min(KEEP_ALIVE));
    }
    args
}

/// Returns the routes of the demo's page.
pub(crate) fn routes(upstream: Arc<DemoUpstream>, registry: Registry) -> Router {
    Router::new()
        .route("/demo", get(show))
        .route("/demo/kill", post(kill))
        .route("/demo/start", post(start))
        .with_state(Demo { upstream, registry })
}

async fn show(State(demo): State<Demo>) -> impl IntoResponse {
    let tunnels = demo.registry.list();
    let upstream = match demo.upstream.is_running() {
        true => "running",
        false => "killed",
    };
    let body = format!(
        r#"{{"upstream":"{upstream}","client_ms":{},"upstream_ms":{}}}"#,
        median_ms(&tunnels, |tunnel| tunnel.client),
        median_ms(&tunnels, |tunnel| tunnel.upstream),
    );
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, body)
}

/// Returns the median of the newest round trips on these legs, in milliseconds; `null` before the
/// first.
fn median_ms(tunnels: &[TunnelStatus], leg: impl Fn(&TunnelStatus) -> LegStatus) -> String {
    let mut trips: Vec<_> = tunnels
        .iter()
        .filter_map(|tunnel| leg(tunnel).rtt)
        .collect();
    trips.sort_unstable();
    let median = trips.get(trips.len() / 2);
    median.map_or("null".into(), |trip| {
        format!("{:.3}", trip.as_secs_f64() * 1000.0)
    })
}

async fn kill(State(demo): State<Demo>, headers: HeaderMap) -> StatusCode {
    if !headers.contains_key(FROM_THE_PAGE) {
        return StatusCode::FORBIDDEN;
    }
    demo.upstream.kill().await;
    StatusCode::NO_CONTENT
}

async fn start(State(demo): State<Demo>, headers: HeaderMap) -> StatusCode {
    if !headers.contains_key(FROM_THE_PAGE) {
        return StatusCode::FORBIDDEN;
    }
    match demo.upstream.start_again() {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(error) => {
            tracing::error!("the demo upstream did not start: {error}");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}
