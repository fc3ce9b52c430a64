//! Authentication in front of the proxy: the upstream gets the user's name, and can rely on it.
//!
//! Start a WebSocket server on port 9000 (`cargo run --example echo`), then:
//!
//! ```text
//! cargo run --example authenticated
//! websocat -H 'Authorization: Bearer alice' ws://127.0.0.1:3000/ws/anything
//! websocat ws://127.0.0.1:3000/ws/anything          # 401
//! ```

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header::AUTHORIZATION},
    middleware::{self, Next},
    response::Response,
};
use tokio::net::TcpListener;
use wsplice::{Pool, ProxyLayer, headers::UpstreamHeaders, matcher::path};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proxy = ProxyLayer::new(Pool::new(["ws://127.0.0.1:9000"])?).matching(path("/ws/*"));
    let app = Router::new()
        .fallback(|| async { "the socket is at /ws/\n" })
        .layer(proxy)
        .layer(middleware::from_fn(authenticate));

    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// Checks the client's token, and gives the user's name to the upstream.
///
/// A header that is set in the request itself could be taken away by the client: a proxy must
/// remove every header that `Connection` names (RFC 9110 §7.6.1).
async fn authenticate(mut request: Request, next: Next) -> Result<Response, StatusCode> {
    let user = user(&request).ok_or(StatusCode::UNAUTHORIZED)?;
    let headers: &mut UpstreamHeaders = request.extensions_mut().get_or_insert_default();
    headers.insert(HeaderName::from_static("x-user-id"), user);
    Ok(next.run(request).await)
}

/// Returns the user whose token the request has. Here every token is the name of its user.
fn user(request: &Request) -> Option<HeaderValue> {
    let credentials = request.headers().get(AUTHORIZATION)?.as_bytes();
    let token = credentials.strip_prefix(b"Bearer ")?;
    HeaderValue::from_bytes(token).ok()
}
