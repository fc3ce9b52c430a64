//! The proxy layer, from the command line.

use std::error::Error;

use wsplice::headers::Networks;
use wsplice::matcher::paths;
use wsplice::{
    ForwardHttp, KeepAlive, Limits, Pool, ProxyLayer, Retry, TunnelConfig, Upstream,
    tunnel::reattach::Reattach,
};

use crate::args::{Args, TunnelArgs};
use crate::discovery;
use crate::upstream_tls;

/// Creates the layer that proxies the routes to the pool: their handshakes, and with
/// `--forward-http` their other requests. `upstreams` are those that were given, not discovered.
///
/// # Errors
///
/// An upstream wants TLS, and TLS cannot be configured.
pub(crate) fn layer(
    args: &Args,
    upstreams: &[Upstream],
    pool: Pool,
) -> Result<ProxyLayer<ForwardHttp>, Box<dyn Error>> {
    let requests = &args.requests;
    let forward = ForwardHttp::new().exchange_timeout(requests.exchange_timeout.limit());
    for upstream in upstreams {
        tracing::info!(upstream = upstream.name(), routes = ?requests.route, "proxying");
    }
    let trusted = requests.trust.iter().cloned();
    let connector = args.upstreams.connect.connector();
    // Names that DNS discovery found are looked up by the same resolver; others by the system.
    let connector = match args.upstreams.discover {
        Some(_) => discovery::resolve_by_dns(connector),
        None => connector,
    };
    let proxy = upstream_tls::configure(ProxyLayer::new(pool), &args.upstreams.tls, upstreams)?
        .matching(paths(&requests.route))
        .forward_http(requests.forward_http.then_some(forward))
        .connector(connector)
        .connect_timeout(args.upstreams.connect_timeout)
        .handshake_timeout(args.upstreams.handshake_timeout)
        .retry(Retry::new().only_on(args.upstreams.retry_on.0.iter().copied()))
        .trust(trusted.fold(Networks::none(), Networks::and))
        .leniency(args.upstreams.tolerate.unwrap_or_default())
        .tunnel(tunnel(&args.tunnels))
        .reattach(reattach(&args.tunnels));
    Ok(match &requests.via {
        Some(via) => proxy.via(via.clone()),
        None => proxy,
    })
}

fn reattach(args: &TunnelArgs) -> Option<Reattach> {
    let within = args.reattach.limit()?;
    let reattach = Reattach::new()
        .within(within)
        .on(args.reattach_on.0.iter().copied())
        .limit(args.reattach_limit)
        .replay(args.replay)
        .swallow(args.swallow);
    Some(reattach)
}

fn tunnel(args: &TunnelArgs) -> TunnelConfig {
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
        .half_close_timeout(args.half_close_timeout)
        .limits(limits)
}
