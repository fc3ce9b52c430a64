//! The proxy, set up as the command line says.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use wsplice::headers::{ClientInfo, TrustedProxies};
use wsplice::matcher::paths;
use wsplice::{KeepAlive, Limits, Pool, ProxyLayer, TunnelConfig};

use crate::args::Args;

/// Takes the handshakes of `args.route` to the pool.
pub(crate) fn layer(args: &Args, pool: Pool) -> ProxyLayer {
    let trusted = args.trust.iter().cloned();
    ProxyLayer::new(pool)
        .matching(paths(&args.route))
        .connect_timeout(args.connect_timeout)
        .handshake_timeout(args.handshake_timeout)
        .trust(trusted.fold(TrustedProxies::none(), TrustedProxies::and))
        .client_info(|extensions| {
            let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
            Some(ClientInfo::from(*peer))
        })
        .tunnel(tunnel(args))
}

fn tunnel(args: &Args) -> TunnelConfig {
    let keep_alive = args.keep_alive.limit().map(|interval| {
        KeepAlive::default()
            .interval(interval)
            .pong_timeout(args.pong_timeout)
    });
    let limits = match args.max_message.limit() {
        Some(bytes) => Limits::new().message_size(bytes),
        None => Limits::new(),
    };
    TunnelConfig::new()
        .keep_alive(keep_alive)
        .idle_timeout(args.idle_timeout.limit())
        .max_lifetime(args.max_lifetime.limit())
        .linger(args.linger)
        .limits(limits)
}
