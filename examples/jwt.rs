//! JSON Web Tokens: a socket lives as long as its token, and is closed with 4401 at its `exp`.
//!
//! Start a WebSocket server on port 9000 (`cargo run --example echo`), then:
//!
//! ```text
//! JWT_SECRET=secret cargo run --example jwt
//! pip install pyjwt
//! TOKEN=$(python3 -c 'import jwt, time
//! print(jwt.encode({"sub": "alice", "exp": int(time.time()) + 60}, "secret"))')
//! websocat -v -H "Authorization: Bearer $TOKEN" ws://127.0.0.1:3000/ws/room   # closed after a minute
//! ```

use std::time::{Duration, UNIX_EPOCH};

use axum::{Router, http::StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use tokio::net::TcpListener;
use wsplice::{
    AuthorizationRequest, Pool, ProxyLayer, Rejection, RequestOptions,
    connect::InvalidAddress,
    frame::{CloseCode, CloseFrame},
    matcher::path,
};

/// Claims of a token (RFC 7519 §4.1).
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
}

async fn authorize(
    request: AuthorizationRequest,
    key: DecodingKey,
) -> Result<RequestOptions, Rejection> {
    let token = request.bearer_token().ok_or(StatusCode::UNAUTHORIZED)?;
    let claims = decode::<Claims>(token, &key, &Validation::new(Algorithm::HS256));
    let claims = claims.map_err(|_| StatusCode::UNAUTHORIZED)?.claims;
    let expired = CloseFrame::new(CloseCode::from(4401), "token expired");
    let expires = UNIX_EPOCH.checked_add(Duration::from_secs(claims.exp));
    Ok(RequestOptions::new()
        .key(claims.sub)
        .deadline(expires.ok_or(StatusCode::UNAUTHORIZED)?)
        .deadline_frame(expired))
}

/// The application, in front of this upstream, for tokens that were signed with this secret.
pub(crate) fn app(upstream: &str, secret: &[u8]) -> Result<Router, InvalidAddress> {
    let key = DecodingKey::from_secret(secret);
    let proxy = ProxyLayer::new(Pool::new([upstream])?)
        .matching(path("/ws/*"))
        .authorize(move |request| authorize(request, key.clone()));
    Ok(Router::new().layer(proxy))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = std::env::var("JWT_SECRET")?;
    let app = app("ws://127.0.0.1:9000", secret.as_bytes())?;
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app).await?;
    Ok(())
}
