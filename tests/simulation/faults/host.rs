//! Functions of the host, which panic now and then.

use std::{borrow::Cow, panic, sync::Once};

use http::HeaderMap;
use tokio::time::Instant;
use wsplice::{
    AuthorizationRequest, KeyLimit, Observer, ProxyLayer, Rejection, TunnelInfo, TunnelReport,
    balance::{Balance, Candidates, LeastTunnels},
    head::RequestHead,
    headers::{HeaderEdits, UpstreamHeaders},
    health::{
        Consecutive, HealthEvaluator, HealthEvent, HealthPolicy, Passive, Verdict,
        availability::{Admitted, Availability, Standard, UpstreamHealth},
    },
    pool::PoolBuilder,
    tunnel::reattach::UpstreamChange,
};

/// Begin of the messages of these panics.
const MESSAGE: &str = "the host's";

/// Panics one time in `of`.
fn panic_one_in(of: u32, function: &str) {
    assert!(fastrand::u32(0..of) > 0, "{MESSAGE} {function} panics");
}

/// Keeps these panics out of the output, where they would hide the others.
pub(crate) fn hide_panics() {
    static HIDDEN: Once = Once::new();
    HIDDEN.call_once(|| {
        let show = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let message = panic.payload().downcast_ref::<String>();
            if !message.is_some_and(|message| message.starts_with(MESSAGE)) {
                show(panic);
            }
        }));
    });
}

/// Sets what the handling of a request and a tunnel calls.
pub(crate) fn layer(layer: ProxyLayer) -> ProxyLayer {
    const OF: u32 = 40;
    let key = |_: &RequestHead<'_>| -> Option<String> {
        panic_one_in(OF, "key");
        None
    };
    layer
        .matching(|_: &RequestHead<'_>| {
            panic_one_in(OF, "matcher");
            true
        })
        .authorize(|_: AuthorizationRequest| async {
            panic_one_in(OF, "authorization");
            Ok::<_, Rejection>(())
        })
        .limit_by_key(KeyLimit::by(key).max_tunnels(1))
        .headers_for_upstream(|_| {
            panic_one_in(OF, "headers");
            UpstreamHeaders::new()
        })
        .headers_for_client(|_| {
            panic_one_in(OF, "headers");
            HeaderMap::new()
        })
        .request_headers(HeaderEdits::new().with(|_: &mut HeaderMap| panic_one_in(OF, "edit")))
        .response_headers(HeaderEdits::new().with(|_: &mut HeaderMap| panic_one_in(OF, "edit")))
        .map_rejection(|_, response| {
            panic_one_in(2, "rejection");
            response
        })
        .make_span(|_| {
            panic_one_in(4, "span");
            tracing::Span::none()
        })
        .observer(Watcher)
}

/// Sets the policies of a pool: the defaults, which panic now and then.
pub(crate) fn policies(pool: PoolBuilder, probes: bool) -> PoolBuilder {
    let balance = |candidates: &Candidates<'_>, head: &RequestHead<'_>| {
        panic_one_in(40, "balance");
        LeastTunnels::new().pick(candidates, head)
    };
    let pool = pool.balance(balance).availability(MoodyAvailability);
    match probes {
        true => pool
            .health_policy(Moody(Consecutive::default()))
            .passive_policy(Moody(Passive::default())),
        false => pool.health_policy(Moody(Passive::default())),
    }
}

#[derive(Debug)]
struct Watcher;

impl Observer for Watcher {
    fn tunnel_opened(&self, _: &TunnelInfo) {
        panic_one_in(4, "observer");
    }

    fn tunnel_closed(&self, _: &TunnelInfo, _: &TunnelReport) {
        panic_one_in(4, "observer");
    }

    fn tunnel_reattached(&self, _: &TunnelInfo, _: &UpstreamChange) {
        panic_one_in(4, "observer");
    }
}

/// A policy whose evaluator panics now and then.
#[derive(Debug)]
struct Moody<P>(P);

#[derive(Debug)]
struct MoodyEvaluator(Box<dyn HealthEvaluator>);

impl<P: HealthPolicy> HealthPolicy for Moody<P> {
    fn evaluator(&self) -> Box<dyn HealthEvaluator> {
        Box::new(MoodyEvaluator(self.0.evaluator()))
    }
}

impl HealthEvaluator for MoodyEvaluator {
    fn observe(&mut self, event: &HealthEvent) {
        panic_one_in(20, "health policy");
        self.0.observe(event);
        panic_one_in(20, "health policy");
    }

    fn verdict(&mut self, now: Instant) -> Verdict {
        panic_one_in(20, "health policy");
        self.0.verdict(now)
    }

    fn changes_at(&self) -> Option<Instant> {
        self.0.changes_at()
    }

    fn cause(&self) -> Cow<'_, str> {
        self.0.cause()
    }

    fn recovers_by_probes(&self) -> bool {
        self.0.recovers_by_probes()
    }
}

#[derive(Debug)]
struct MoodyAvailability;

impl Availability for MoodyAvailability {
    fn admit(&self, pool: &[UpstreamHealth<'_>]) -> Admitted {
        panic_one_in(20, "availability policy");
        Standard.admit(pool)
    }
}
