//! Limits by key, and the end of all sockets of one user: ten handshakes a second for each address,
//! two sockets for each user, and `POST /log-out/{user}`.
//!
//! Start a WebSocket server on port 9000 (`cargo run --example echo`), then:
//!
//! ```text
//! cargo run --example limits_by_key
//! websocat 'ws://127.0.0.1:3000/ws/room?user=alice'
//! curl -X POST http://127.0.0.1:3000/log-out/alice
//! ```

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, Path, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::Response,
    routing::post,
};
use tokio::net::TcpListener;
use wsplice::{
    AuthorizationRequest, KeyLimit, Pool, ProxyLayer, Registry, RequestOptions,
    connect::InvalidAddress,
    frame::{CloseCode, CloseFrame},
    headers::ClientInfo,
    matcher::path,
};

/// Takes the user from the query, as a stand-in for a token.
async fn authorize(request: AuthorizationRequest) -> Result<RequestOptions, StatusCode> {
    let query = request.uri().query().unwrap_or_default();
    let user = query
        .strip_prefix("user=")
        .ok_or(StatusCode::UNAUTHORIZED)?;
    Ok(RequestOptions::new().key(user))
}

/// Ends all sockets of a user. An application protects this route.
async fn log_out(State(registry): State<Registry>, Path(user): Path<String>) -> String {
    let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "logged out");
    let closed = registry.close_by_key(&user, frame);
    format!("{closed} sockets closed\n")
}

/// Hands the client's address to the proxy; the feature `axum` does so by itself.
async fn client_info(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    request.extensions_mut().insert(ClientInfo::from(peer));
    next.run(request).await
}

/// The application, in front of this upstream.
pub(crate) fn app(upstream: &str) -> Result<Router, InvalidAddress> {
    let by_address = KeyLimit::by_client_ip().handshakes(10, Duration::from_secs(1));
    let proxy = ProxyLayer::new(Pool::new([upstream])?)
        .matching(path("/ws/*"))
        .limit_by_key(by_address.burst(30))
        .authorize(authorize)
        .limit_by_key(KeyLimit::by_request_key().max_tunnels(2));
    Ok(Router::new()
        .route("/log-out/{user}", post(log_out))
        .with_state(proxy.registry())
        .layer(proxy)
        .layer(middleware::from_fn(client_info)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = app("ws://127.0.0.1:9000")?.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(TcpListener::bind("127.0.0.1:3000").await?, app).await?;
    Ok(())
}
