//! A token as a subprotocol: browsers cannot set headers, so some applications send the token in
//! `Sec-WebSocket-Protocol`. It is moved to `Authorization`, and the upstream does not see it where it
//! would be logged, or chosen as the subprotocol.
//!
//! Start a WebSocket server on port 9000 that chooses the subprotocol `chat`, then:
//!
//! ```text
//! cargo run --example token_subprotocol
//! # in a browser: new WebSocket("ws://127.0.0.1:3000/ws/room", ["chat", "bearer.eyJhbGciOi"])
//! ```

use axum::{
    Router,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL},
    },
};
use tokio::net::TcpListener;
use wsplice::{
    AuthorizationRequest, Pool, ProxyLayer, Rejection, RequestOptions,
    connect::InvalidAddress,
    headers::{HeaderEdits, InvalidHeaderEdit},
    matcher::path,
};

/// What the token is prefixed with among the subprotocols.
const PREFIX: &str = "bearer.";

/// Where the list without the token waits for the edits.
const OFFERED: HeaderName = HeaderName::from_static("x-offered-subprotocols");

async fn authorize(request: AuthorizationRequest) -> Result<RequestOptions, Rejection> {
    let head = request.head();
    let (tokens, offered): (Vec<&str>, Vec<&str>) = head
        .subprotocols()
        .iter()
        .partition(|name| name.starts_with(PREFIX));
    let [token] = tokens[..] else {
        return Err(StatusCode::UNAUTHORIZED.into());
    };
    let text = |text: String| HeaderValue::from_str(&text).map_err(|_| StatusCode::BAD_REQUEST);
    let token = text(format!("Bearer {}", &token[PREFIX.len()..]))?;
    let options = RequestOptions::new().header(AUTHORIZATION, token);
    Ok(options.header(OFFERED, text(offered.join(", "))?))
}

/// Replaces the offered subprotocols by those without the token.
fn edits() -> Result<HeaderEdits, InvalidHeaderEdit> {
    HeaderEdits::new()
        .with(|headers| match headers.remove(OFFERED) {
            Some(offered) if !offered.is_empty() => {
                headers.insert(SEC_WEBSOCKET_PROTOCOL, offered);
            }
            _ => drop(headers.remove(SEC_WEBSOCKET_PROTOCOL)),
        })
        .remove(OFFERED)
}

/// The application, in front of this upstream.
pub(crate) fn app(upstream: &str) -> Result<Router, Box<dyn std::error::Error>> {
    let proxy = ProxyLayer::new(Pool::new([upstream]).map_err(Box::<InvalidAddress>::new)?)
        .matching(path("/ws/*"))
        .authorize(authorize)
        .request_headers(edits()?);
    Ok(Router::new().layer(proxy))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app("ws://127.0.0.1:9000")?).await?;
    Ok(())
}
