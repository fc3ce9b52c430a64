//! Shows: the status page on a listener of its own, beside the proxy.
//!
//! Try it: `cargo run -p wsplice-status --example admin_listener -- ws://127.0.0.1:8080`, then open
//! <http://127.0.0.1:9000/> and connect a WebSocket to `ws://127.0.0.1:3000/`.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use wsplice::{KeepAlive, Pool, ProxyLayer, health::probe::TcpProbe};
use wsplice_status::Status;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::new(std::env::args().skip(1))?
        .probe(TcpProbe::new())
        .build();
    let status = Status::new().pool_as("upstreams", &pool);
    let proxy = ProxyLayer::new(pool)
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
