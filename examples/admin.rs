//! An operator's routes over the registry: list, end those of a user or of a path, drain.
//!
//! ```text
//! cargo run --example echo
//! cargo run --example admin
//! websocat 'ws://127.0.0.1:3000/ws/room?user=alice'
//! curl http://127.0.0.1:3001/sockets
//! curl -X POST http://127.0.0.1:3001/kick/alice
//! curl -X POST http://127.0.0.1:3001/close/ws/room
//! curl -X POST http://127.0.0.1:3001/drain
//! ```

use std::{convert::Infallible, time::Duration};

use axum::{
    BoxError, Router,
    extract::{Path, State},
    routing::{get, post},
};
use tokio::net::TcpListener;
use wsplice::{
    AuthorizationRequest, Drain, Pool, ProxyLayer, Registry, RequestOptions, TunnelInfo,
    frame::{CloseCode, CloseFrame},
    matcher::path,
    tunnel::registry::TunnelStatus,
};

async fn sockets(State(registry): State<Registry>) -> String {
    let line = |TunnelStatus { info, .. }| {
        let user = info.key().unwrap_or("-");
        format!("{} {user} {} {}\n", info.id, info.path, info.upstream)
    };
    registry.list().into_iter().map(line).collect()
}

async fn kick(State(registry): State<Registry>, Path(user): Path<String>) -> String {
    let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "kicked");
    format!("{} closed\n", registry.close_by_key(&user, frame))
}

async fn close(State(registry): State<Registry>, Path(path): Path<String>) -> String {
    let frame = CloseFrame::new(CloseCode::SERVICE_RESTART, "the room moves");
    let is_there = |tunnel: &TunnelInfo| tunnel.path.strip_prefix('/') == Some(&*path);
    format!("{} closed\n", registry.close_where(is_there, frame))
}

async fn drain(State(registry): State<Registry>) -> String {
    let drain = Drain::new(&registry).spread(Duration::from_secs(1));
    let drained = drain.run().await;
    format!("{} closed, {} aborted\n", drained.closed, drained.aborted)
}

/// The application, and the operator's, which is for a listener of its own that no client reaches.
pub(crate) fn apps(upstream: &str) -> Result<(Router, Router), BoxError> {
    let authorize = |request: AuthorizationRequest| async move {
        let query = request.uri().query().unwrap_or_default();
        let user = query.strip_prefix("user=").unwrap_or("guest");
        Ok::<_, Infallible>(RequestOptions::new().key(user))
    };
    let proxy = ProxyLayer::new(Pool::new([upstream])?)
        .matching(path("/ws/*"))
        .authorize(authorize);
    let admin = Router::new()
        .route("/sockets", get(sockets))
        .route("/kick/{user}", post(kick))
        .route("/close/{*path}", post(close))
        .route("/drain", post(drain))
        .with_state(proxy.registry());
    Ok((Router::new().layer(proxy), admin))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (app, admin) = apps("ws://127.0.0.1:9000")?;
    let admin = axum::serve(TcpListener::bind("127.0.0.1:3001").await?, admin);
    let app = axum::serve(TcpListener::bind("127.0.0.1:3000").await?, app);
    tokio::try_join!(app.into_future(), admin.into_future())?;
    Ok(())
}
