//! A proxy within a router that is nested below a prefix.
//!
//! Start a WebSocket server on port 9000 (`cargo run --example echo`), then:
//!
//! ```text
//! cargo run --example nested --features axum
//! websocat ws://127.0.0.1:3000/app/ws/room          # the upstream gets /chat/room
//! websocat ws://127.0.0.1:3000/v2/ws/room           # the upstream gets /v2/ws/room
//! curl http://127.0.0.1:3000/app/hello              # from the nested router
//! ```

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use wsplice::{Pool, ProxyLayer, head::PathRewrite, matcher::path};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let app = app(Pool::new(["ws://127.0.0.1:9000"])?.build());
    axum::serve(listener, app).await?;
    Ok(())
}

/// The application, in front of these upstreams.
pub(crate) fn app(pool: Pool) -> Router {
    // `nest` removes `/app`: the matcher compares the path within it. The upstream learns of the
    // prefix by X-Forwarded-Prefix.
    let chat = ProxyLayer::new(pool.clone())
        .matching(path("/ws/*"))
        .rewrite(PathRewrite::replace_prefix("/ws", "/chat"));
    let nested = Router::new()
        .route("/hello", get(|| async { "hello\n" }))
        // Without a fallback of its own, a nested router leaves unknown paths to the outer one, and
        // the layer sees none of them.
        .fallback(|| async { "nothing here\n" })
        .layer(chat);

    // Here the client's whole path is matched and forwarded.
    let second = ProxyLayer::new(pool).matching(path("/v2/ws/*"));
    #[cfg(feature = "axum")]
    let second = second.original_uri();

    Router::new()
        .nest("/app", nested)
        .nest_service("/v2", second.into_service())
}
