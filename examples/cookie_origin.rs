//! A guard against cross-site WebSocket hijacking: handshakes with a cookie must come from a page of
//! this host (RFC 6455 §10.2), and clients without a cookie must bring a token.
//!
//! Start a WebSocket server on port 9000 (`cargo run --example echo`), then:
//!
//! ```text
//! cargo run --example cookie_origin
//! websocat -H 'Cookie: session=s3cret' --origin http://127.0.0.1:3000 ws://127.0.0.1:3000/ws/a
//! websocat -H 'Cookie: session=s3cret' --origin https://evil.example ws://127.0.0.1:3000/ws/a  # 403
//! ```

use axum::{Router, http::StatusCode};
use tokio::net::TcpListener;
use wsplice::{
    AuthorizationRequest, Pool, ProxyLayer, Rejection, RequestOptions,
    connect::InvalidAddress,
    matcher::{Matcher, origin, path, same_origin},
};

/// Returns the user of a session. Here there is one.
fn user_of_session(session: &str) -> Option<&'static str> {
    (session == "s3cret").then_some("alice")
}

/// Returns the user of a token. Here there is one.
fn user_of_token(token: &str) -> Option<&'static str> {
    (token == "t0ken").then_some("robot")
}

async fn authorize(
    request: AuthorizationRequest,
    pages: impl Matcher,
) -> Result<RequestOptions, Rejection> {
    let user = match request.cookie("session") {
        // A browser sends the cookie from any page, and names the page's origin.
        Some(session) if request.owned_by(&pages) => user_of_session(session),
        Some(_) => {
            return Err(Rejection::new(
                StatusCode::FORBIDDEN,
                "not from this page\n",
            ));
        }
        None => request.bearer_token().and_then(user_of_token),
    };
    let user = user.ok_or(StatusCode::UNAUTHORIZED)?;
    Ok(RequestOptions::new().key(user))
}

/// The application, in front of this upstream.
pub(crate) fn app(upstream: &str) -> Result<Router, Box<dyn std::error::Error>> {
    let pages = same_origin().or(origin(["https://app.example"])?).boxed();
    let pool = Pool::new([upstream]).map_err(Box::<InvalidAddress>::new)?;
    let proxy = ProxyLayer::new(pool)
        .matching(path("/ws/*"))
        .authorize(move |request| authorize(request, pages.clone()));
    Ok(Router::new().layer(proxy))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app("ws://127.0.0.1:9000")?).await?;
    Ok(())
}
