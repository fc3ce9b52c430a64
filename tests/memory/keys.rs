//! Memory of a limit by key, whose keys a flood of clients makes up.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use futures_util::FutureExt;
use http::Request;
use http_body_util::Empty;
use stats_alloc::Region;
use tower::Service;
use wsplice::{KeyLimit, Pool, ProxyLayer, headers::ClientInfo};

use super::{HEAP, turn};

/// Number of clients, each with an address of its own. Beyond the keys that are remembered, the memory
/// does not depend on it.
const CLIENTS: u32 = if cfg!(debug_assertions) {
    70_000
} else {
    1_000_000
};

/// Keys without tunnels that are remembered, by default, and the most memory for each, in bytes.
const IDLE_KEYS: usize = 65_536;
const BYTES_PER_KEY: usize = 192;

/// No rate recovers during the test, so that no key is forgotten for that reason.
#[test]
fn addresses_without_number_leave_at_most_12_mib() {
    let _turn = turn();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let limit = KeyLimit::by_client_ip().handshakes(10, Duration::from_secs(36_000));
    let layer = ProxyLayer::new(Pool::from_upstreams([])).limit_by_key(limit.clone());
    let mut service = layer.into_service();
    let before = Region::new(HEAP);
    let mut most = 0;
    for client in 0..CLIENTS {
        let address = SocketAddr::from((Ipv4Addr::from_bits(client), 9));
        let rejected = service.call(handshake(address)).now_or_never();
        let status = rejected.unwrap().unwrap().status();
        assert_eq!(status, 503, "there is no upstream");
        if client % 1024 == 0 {
            most = most.max(held(&before));
        }
    }
    println!(
        "{CLIENTS} addresses: {} keys, {} bytes at most, {} at the end",
        limit.keys(),
        most,
        held(&before)
    );
    assert_eq!(limit.keys(), IDLE_KEYS);
    assert!(most <= IDLE_KEYS * BYTES_PER_KEY, "{most} bytes");
}

fn held(since: &Region<'_, std::alloc::System>) -> usize {
    let change = since.change();
    change
        .bytes_allocated
        .saturating_sub(change.bytes_deallocated)
}

fn handshake(client: SocketAddr) -> Request<Empty<bytes::Bytes>> {
    let request = Request::get("/ws")
        .header("host", "proxy.test")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")
        .extension(ClientInfo::from(client))
        .extension(hyper::upgrade::on(Request::new(())));
    request.body(Empty::new()).unwrap()
}
