//! Tunnels that get another upstream, on sockets and through the layer.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use wsplice::{
    AuthorizationRequest, Observer, Pool, ProxyLayer, Rejection, RequestOptions, TunnelInfo,
    TunnelReport,
    balance::First,
    frame::CloseCode,
    pool::OnUpstreamLoss,
    tunnel::{
        Side, TunnelEnd,
        reattach::{Loss, Reattach, ReattachOn, ReattachRefusal, UpstreamChange},
    },
};

use crate::support::{
    frames::{binary, close, read_frame, text, unmasked},
    raw::RawClient,
    serve::serve_axum,
    tunnels::{AcceptingUpstream, Ends, ProxyServer},
    upstream::RawConn,
};

/// Reattaches without a random delay.
fn at_once() -> Reattach {
    Reattach::new().spread(Duration::ZERO)
}

async fn proxy_to(upstream: &AcceptingUpstream, reattach: Reattach) -> ProxyServer {
    ProxyServer::with([upstream.url()], |layer| layer.reattach(reattach)).await
}

/// Loses the upstream of these ends, and gives them the next connection.
async fn next(ends: Ends, accepting: &mut AcceptingUpstream, lose: impl FnOnce(RawConn)) -> Ends {
    let Ends { client, upstream } = ends;
    lose(upstream);
    let upstream = accepting.next().await;
    Ends { client, upstream }
}

/// Ends the client's connection, and returns the report of the tunnel.
async fn client_leaves(ends: Ends, proxy: &ProxyServer) -> TunnelReport {
    ends.client.reset();
    let report = proxy.report().await;
    drop(ends.upstream);
    report
}

/// Loses the upstream of these ends, whose client is closed, and returns the report of the tunnel.
async fn upstream_is_lost_for_good(ends: Ends, proxy: &ProxyServer) -> TunnelReport {
    let Ends {
        mut client,
        upstream,
    } = ends;
    drop(upstream);
    let frame = read_frame(&mut client).await;
    assert_eq!(frame.close().map(|(code, _)| code), Some(1011));
    drop(client);
    proxy.report().await
}

async fn pass_both_ways(ends: &mut Ends) {
    ends.pass_frame(Side::Client, text("to the upstream")).await;
    ends.pass_frame(Side::Upstream, binary(b"to the client"))
        .await;
}

#[tokio::test]
async fn a_client_keeps_its_socket_over_the_losses_of_its_upstreams() {
    let mut accepting = AcceptingUpstream::start().await;
    let proxy = proxy_to(&accepting, at_once()).await;
    let mut ends = Ends::open(&proxy, &mut accepting).await;
    let number = proxy.registry().list()[0].info.id;
    pass_both_ways(&mut ends).await;
    ends = next(ends, &mut accepting, drop).await;
    pass_both_ways(&mut ends).await;
    ends = next(ends, &mut accepting, RawConn::reset).await;
    pass_both_ways(&mut ends).await;
    let tunnel = proxy.registry().list().remove(0);
    assert_eq!(tunnel.info.id, number, "the tunnel keeps its number");
    let report = client_leaves(ends, &proxy).await;
    let losses: Vec<_> = report
        .upstream_changes
        .iter()
        .map(|change| change.loss)
        .collect();
    assert_eq!(losses[0], Loss::ClosedWithoutFrame);
    assert!(matches!(losses[1], Loss::Broken(_)), "{losses:?}");
    assert_eq!(losses.len(), 2);
}

#[tokio::test]
async fn the_head_of_the_client_goes_to_each_upstream() {
    let mut accepting = AcceptingUpstream::start().await;
    let proxy = proxy_to(&accepting, at_once()).await;
    let extra = [("authorization", "Bearer a"), ("x-tenant", "b")];
    let ends = Ends::open_with(&proxy, &mut accepting, "/ws/room?a=b", &extra).await;
    let mut ends = next(ends, &mut accepting, drop).await;
    pass_both_ways(&mut ends).await;
    let heads = accepting.upstream().log().heads;
    assert_eq!(heads.len(), 2);
    for name in ["authorization", "x-tenant", "host", "x-forwarded-host"] {
        assert!(heads[0].get(name).is_some(), "{name}");
        assert_eq!(heads[0].get(name), heads[1].get(name), "{name}");
    }
    assert_eq!(heads[0].target(), heads[1].target());
}

#[tokio::test]
async fn a_restart_is_kept_from_the_client_and_another_close_is_not() {
    let mut accepting = AcceptingUpstream::start().await;
    let proxy = proxy_to(&accepting, at_once()).await;
    let mut ends = Ends::open(&proxy, &mut accepting).await;
    let restart = unmasked(close(1012, "restarting"));
    ends.upstream.send(&restart).await;
    let mut ends = next(ends, &mut accepting, drop).await;
    pass_both_ways(&mut ends).await;
    ends.pass_frame(Side::Upstream, close(1001, "idle")).await;
    ends.pass_frame(Side::Client, close(1001, "")).await;
    drop(ends.upstream);
    let report = proxy.report().await;
    assert_eq!(report.end, TunnelEnd::Closed);
    let loss = Loss::Closed(CloseCode::SERVICE_RESTART);
    assert_eq!(report.upstream_changes[0].loss, loss);
}

#[tokio::test]
async fn losses_that_are_not_listed_end_the_tunnel() {
    let mut accepting = AcceptingUpstream::start().await;
    let on = [ReattachOn::Closed(CloseCode::SERVICE_RESTART)];
    let proxy = proxy_to(&accepting, at_once().on(on)).await;
    let ends = Ends::open(&proxy, &mut accepting).await;
    let report = upstream_is_lost_for_good(ends, &proxy).await;
    assert_eq!(report.end, TunnelEnd::ClosedWithoutFrame(Side::Upstream));
    assert_eq!(report.reattach_refusal, None);
}

#[tokio::test]
async fn an_option_of_one_request_switches_reattachment_on_and_off() {
    let mut accepting = AcceptingUpstream::start().await;
    for is_on in [true, false] {
        let options = move |_: AuthorizationRequest| async move {
            Ok::<_, Rejection>(match is_on {
                true => RequestOptions::new().reattach(at_once()),
                false => RequestOptions::new().without_reattach(),
            })
        };
        let proxy = ProxyServer::with([accepting.url()], |layer| {
            let layer = match is_on {
                true => layer,
                false => layer.reattach(at_once()),
            };
            layer.authorize(options)
        })
        .await;
        let mut ends = Ends::open(&proxy, &mut accepting).await;
        pass_both_ways(&mut ends).await;
        if is_on {
            ends = next(ends, &mut accepting, drop).await;
            pass_both_ways(&mut ends).await;
            client_leaves(ends, &proxy).await;
            continue;
        }
        drop(ends.upstream);
        let frame = read_frame(&mut ends.client).await;
        assert_eq!(frame.close().map(|(code, _)| code), Some(1011));
        drop(ends.client);
        assert!(proxy.report().await.upstream_changes.is_empty());
    }
}

/// An observer of reattachments.
#[derive(Debug, Default)]
struct Seen(Mutex<Vec<String>>);

impl Observer for Seen {
    fn tunnel_reattached(&self, tunnel: &TunnelInfo, change: &UpstreamChange) {
        let line = format!("{}: {} to {}", tunnel.id, change.from, change.to);
        self.0.lock().unwrap().push(line);
    }

    fn reattachment_failed(&self, _: &TunnelInfo, loss: Loss, refusal: ReattachRefusal) {
        let line = format!("{}: {}", loss.as_str(), refusal.as_str());
        self.0.lock().unwrap().push(line);
    }
}

#[tokio::test]
async fn another_upstream_of_the_pool_takes_over_and_counts_the_tunnel() {
    let [mut first, mut second] = [
        AcceptingUpstream::start().await,
        AcceptingUpstream::start().await,
    ];
    let pool = Pool::new([first.url(), second.url()])
        .unwrap()
        .balance(First::new())
        .build();
    let seen = Arc::new(Seen::default());
    let observer = Arc::clone(&seen);
    let settings = |layer: ProxyLayer| layer.reattach(at_once()).observer(observer);
    let proxy = ProxyServer::start(pool.clone(), settings, serve_axum).await;
    let ends = Ends::open(&proxy, &mut first).await;
    let name = pool.snapshot()[0].name.clone();
    assert!(pool.drain(&name, OnUpstreamLoss::Leave));
    let mut ends = next(ends, &mut second, drop).await;
    pass_both_ways(&mut ends).await;
    let tunnels: Vec<_> = pool
        .snapshot()
        .iter()
        .map(|status| status.tunnels)
        .collect();
    assert_eq!(tunnels, [0, 1]);
    let now = proxy.registry().list().remove(0).info;
    assert_eq!(pool.snapshot()[1].name, now.upstream);
    client_leaves(ends, &proxy).await;
    let lines = seen.0.lock().unwrap().clone();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with(&format!("{}: ", now.id)), "{lines:?}");
}

#[tokio::test]
async fn without_another_upstream_in_time_the_tunnel_ends_as_it_would_have() {
    let mut accepting = AcceptingUpstream::start().await;
    let seen = Arc::new(Seen::default());
    let within = at_once().within(Duration::from_millis(300));
    let observer = Arc::clone(&seen);
    let proxy = ProxyServer::with([accepting.url()], |layer| {
        layer.reattach(within).observer(observer)
    })
    .await;
    let Ends {
        mut client,
        upstream,
    } = Ends::open(&proxy, &mut accepting).await;
    drop(accepting);
    drop(upstream);
    let frame = read_frame(&mut client).await;
    assert_eq!(frame.close().map(|(code, _)| code), Some(1011));
    drop(client);
    let report = proxy.report().await;
    assert_eq!(report.reattach_refusal, Some(ReattachRefusal::Timeout));
    let lines = seen.0.lock().unwrap().clone();
    assert_eq!(lines, ["closed_without_frame: timeout"]);
}

#[tokio::test]
async fn rounds_that_find_no_upstream_to_try_cost_no_retry() {
    let mut accepting = AcceptingUpstream::start().await;
    let pool = Pool::new([accepting.url()]).unwrap().build();
    let within = at_once().within(Duration::from_millis(500));
    let settings = |layer: ProxyLayer| layer.reattach(within);
    let proxy = ProxyServer::start(pool.clone(), settings, serve_axum).await;
    let mut ends = Ends::open(&proxy, &mut accepting).await;
    pass_both_ways(&mut ends).await;
    let name = pool.snapshot()[0].name.clone();
    assert!(pool.drain(&name, OnUpstreamLoss::Leave));
    let report = upstream_is_lost_for_good(ends, &proxy).await;
    assert_eq!(report.reattach_refusal, Some(ReattachRefusal::Timeout));
    assert_eq!(pool.retries().made, 0);
}

#[tokio::test]
async fn compressed_messages_are_made_independent_and_then_follow_rfc7692() {
    const DEFLATE: [(&str, &str); 1] = [("sec-websocket-extensions", "permessage-deflate")];
    let mut accepting = AcceptingUpstream::with(&DEFLATE).await;
    for adds in [true, false] {
        let reattach = match adds {
            true => at_once(),
            false => at_once().without_added_parameter(),
        };
        let proxy = proxy_to(&accepting, reattach).await;
        let mut client = RawClient::connect(proxy.addr()).await;
        let head = client.handshake("/ws/", &DEFLATE).await;
        let expected = match adds {
            true => "permessage-deflate; client_no_context_takeover",
            false => "permessage-deflate",
        };
        assert_eq!(head.get("sec-websocket-extensions"), Some(expected));
        let upstream = accepting.next().await;
        drop(upstream);
        // Kept, or the next upstream would be lost too.
        let _next = match adds {
            true => Some(accepting.next().await),
            false => {
                let frame = read_frame(&mut client).await;
                assert_eq!(frame.close().map(|(code, _)| code), Some(1011));
                None
            }
        };
        client.reset();
        let refusal = proxy.report().await.reattach_refusal;
        let expected = (!adds).then_some(ReattachRefusal::ContextTakeover);
        assert_eq!(refusal, expected);
    }
}
