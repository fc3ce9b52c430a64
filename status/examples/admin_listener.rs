//! Shows: the status page on a listener of its own, beside the proxy.
//!
//! Try it: `cargo run -p wsplice-status --example admin_listener -- ws://127.0.0.1:8080`, then open
//! <http://127.0.0.1:9000/> and connect a WebSocket to `ws://127.0.0.1:3000/?user=ada`, whose tunnels the
//! page can close all at once.

use std::{convert::Infallible, net::SocketAddr};

use axum::Router;
use tokio::net::TcpListener;
use wsplice::{
    AuthorizationRequest, KeepAlive, Pool, ProxyLayer, RequestOptions, health::probe::TcpProbe,
};
use wsplice_status::Status;

/// Makes the user's name the key of the tunnel. A real host takes the name from a session.
async fn options(request: AuthorizationRequest) -> Result<RequestOptions, Infallible> {
    let query = request.uri().query().unwrap_or_default();
    let user = query.strip_prefix("user=").unwrap_or("guest");
    Ok(RequestOptions::new().key(user))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::new(std::env::args().skip(1))?
        .probe(TcpProbe::new())
        .build();
    let status = Status::new().pool_as("upstreams", &pool);
    let proxy = ProxyLayer::new(pool)
        .authorize(options)
        .keep_alive(KeepAlive::default())
        .observer(status.observer());
    // Only this machine can reach the listener, so actions are allowed.
    let status = status.registry(&proxy.registry()).allow_actions();

    let site = Router::new().layer(proxy);
    // The client's address, for the page and for `X-Forwarded-For`.
    let site = site.into_make_service_with_connect_info::<SocketAddr>();
    let admin = Router::new().route_service("/", status.into_service());
    let site_listener = TcpListener::bind("127.0.0.1:3000").await?;
    let admin_listener = TcpListener::bind("127.0.0.1:9000").await?;
    println!("status: http://{}/", admin_listener.local_addr()?);
    tokio::try_join!(async { axum::serve(site_listener, site).await }, async {
        axum::serve(admin_listener, admin).await
    },)?;
    Ok(())
}
