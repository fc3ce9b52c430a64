//! Without axum: hyper's own server, and a proxy with no inner service.
//!
//! Start a WebSocket server on port 9000 (`cargo run --example echo`), then:
//!
//! ```text
//! cargo run --example plain_hyper
//! websocat ws://127.0.0.1:3000/anything
//! curl -i http://127.0.0.1:3000/                    # 426 Upgrade Required
//! ```

use hyper::{Request, body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::ServiceExt;
use wsplice::{Pool, ProxyLayer, headers::ClientInfo};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proxy = ProxyLayer::new(Pool::new(["ws://127.0.0.1:9000"])?).into_service();

    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        let service = proxy
            .clone()
            .map_request(move |mut request: Request<Incoming>| {
                // For X-Forwarded-For.
                request.extensions_mut().insert(ClientInfo::from(peer));
                request
            });
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
                // Without this hyper keeps the connection to itself after a 101.
                .with_upgrades();
            if let Err(error) = connection.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}
