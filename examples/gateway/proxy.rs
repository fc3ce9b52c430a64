//! The proxy, set up as the command line says.

use std::error::Error;

use wsplice::balance::AnyBalance;
use wsplice::connect::HttpVersion;
use wsplice::headers::TrustedProxies;
use wsplice::matcher::paths;
use wsplice::{
    Admission, ForwardHttp, KeepAlive, Limits, Pool, ProxyLayer, TunnelConfig, Upstream,
};

use crate::args::Args;
use crate::discover::by_dns;
use crate::tls;

/// Takes the handshakes of `args.route` to the pool, which has these upstreams, or finds some; and
/// other requests, if that is asked for.
///
/// # Errors
///
/// When an upstream wants TLS and that cannot be set up.
pub(crate) fn layer(
    args: &Args,
    upstreams: &[Upstream],
    pool: Pool,
) -> Result<ProxyLayer<ForwardHttp>, Box<dyn Error>> {
    let trusted = args.trust.iter().cloned();
    let secured = tls::secure(ProxyLayer::new(pool), args, upstreams)?;
    // What was found by DNS is looked up there, and what was given by the system.
    let connector = match args.discover {
        Some(_) => by_dns(args.dial.connector()),
        None => args.dial.connector(),
    };
    let proxy = secured
        .matching(paths(&args.route))
        .forward_http(args.forward_http.then(ForwardHttp::new))
        .connector(connector)
        .connect_timeout(args.connect_timeout)
        .handshake_timeout(args.handshake_timeout)
        .trust(trusted.fold(TrustedProxies::none(), TrustedProxies::and))
        .tunnel(tunnel(args));
    Ok(match &args.via {
        Some(via) => proxy.via(via.clone()),
        None => proxy,
    })
}

/// The pool of these upstreams.
pub(crate) fn pool(args: &Args, upstreams: &[Upstream]) -> Pool {
    let pool =
        Pool::from_upstreams(upstreams.iter().cloned().map(limited(args))).balance(balance(args));
    args.probe.of(pool, args.probe_interval)
}

/// Puts the limits on an upstream that each has.
pub(crate) fn limited(args: &Args) -> impl Fn(Upstream) -> Upstream + Send + 'static {
    let admission = match args.max_tunnels {
        Some(tunnels) => Admission::new().max_tunnels(tunnels.get()),
        None => Admission::new(),
    };
    let dial = args.dial.clone();
    let version = http_version(args);
    move |upstream| dial.announce(upstream.admission(admission).http_version(version))
}

#[cfg(feature = "http2")]
const fn http_version(args: &Args) -> HttpVersion {
    args.upstream_http
}

#[cfg(not(feature = "http2"))]
const fn http_version(_: &Args) -> HttpVersion {
    HttpVersion::Http1
}

#[cfg(feature = "sticky")]
fn balance(args: &Args) -> AnyBalance {
    match &args.sticky {
        Some(sticky) => crate::sticky::before(sticky, &args.balance),
        None => args.balance.balance(),
    }
}

#[cfg(not(feature = "sticky"))]
fn balance(args: &Args) -> AnyBalance {
    args.balance.balance()
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
        .half_close_timeout(args.half_close_timeout)
        .limits(limits)
}
