//! A load-balancing policy of one's own: sockets go to the upstreams of the client's region while one
//! of them has room, and else to any. A retry policy is set beside it.
//!
//! ```text
//! cargo run --example echo            # Europe, on port 9000
//! cargo run --example echo -- 9001    # America
//! cargo run --example custom_balance
//! websocat -H 'X-Region: eu' ws://127.0.0.1:3000/ws/room          # port 9000
//! ```

use axum::Router;
use tokio::net::TcpListener;
use wsplice::{
    Pool, ProxyLayer, Retry, Upstream,
    balance::{Balance, Candidates, LeastTunnels},
    connect::InvalidAddress,
    head::RequestHead,
    matcher::path,
    pool::RetryOn,
};

/// Picks the emptiest upstream of the client's region, up to a number of tunnels each.
struct ByRegion {
    room: usize,
}

impl Balance for ByRegion {
    // The pool is locked meanwhile: a policy only looks, and returns at once.
    fn pick(&self, candidates: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize> {
        let region = request.headers().get("x-region")?.to_str().ok()?;
        let near = candidates.iter().enumerate().filter(|(_, candidate)| {
            candidate.tag("region") == Some(region) && candidate.tunnels() < self.room
        });
        near.min_by_key(|(_, candidate)| candidate.tunnels())
            .map(|(index, _)| index)
    }
}

/// The application, in front of these upstreams.
pub(crate) fn app(europe: &str, america: &str, room: usize) -> Result<Router, InvalidAddress> {
    let upstreams = [
        Upstream::new(europe)?.tag("region", "eu"),
        Upstream::new(america)?.tag("region", "us"),
    ];
    let policy = ByRegion { room }.or_else(LeastTunnels::new());
    let proxy = ProxyLayer::new(Pool::from_upstreams(upstreams).balance(policy))
        .matching(path("/ws/*"))
        // An upstream that is full responds with 503; the other one may have room.
        .retry(Retry::new().attempts(2).on([RetryOn::Status(503)]));
    Ok(Router::new().layer(proxy))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = app("ws://127.0.0.1:9000", "ws://127.0.0.1:9001", 1_000)?;
    axum::serve(TcpListener::bind("127.0.0.1:3000").await?, app).await?;
    Ok(())
}
