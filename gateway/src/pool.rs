//! The pool of upstreams, from the command line.

use wsplice::balance::AnyBalance;
use wsplice::{Admission, Pool, Upstream};

use crate::args::{Args, PoolArgs};
use crate::sticky;

/// Creates a pool of these upstreams, with load balancing and health checks.
pub(crate) fn pool(args: &Args, upstreams: &[Upstream]) -> Pool {
    let upstreams = upstreams.iter().cloned().map(upstream_settings(args));
    let pool = Pool::from_upstreams(upstreams)
        .name("main")
        .removed_tunnels(args.tunnels.removed_tunnels())
        .balance(balance(&args.pool));
    args.pool
        .probe
        .apply(pool, args.pool.probe_interval)
        .build()
}

/// Returns the function that gives an upstream its settings: limit, version of HTTP, PROXY protocol.
pub(crate) fn upstream_settings(args: &Args) -> impl Fn(Upstream) -> Upstream + Send + 'static {
    let admission = match args.pool.max_tunnels {
        Some(tunnels) => Admission::new().max_tunnels(tunnels.get()),
        None => Admission::new(),
    };
    let connect = args.upstreams.connect.clone();
    let version = args.upstreams.upstream_http;
    move |upstream| connect.apply(upstream.admission(admission).http_version(version))
}

fn balance(args: &PoolArgs) -> AnyBalance {
    match &args.sticky {
        Some(sticky) => sticky::or_else(sticky, &args.balance),
        None => args.balance.balance(),
    }
}
