//! Draining a proxy that has tunnels open.

use std::{future::pending, net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};
use wsplice::{
    Drain, ErrorKind, Pool, ProxyLayer, TunnelInfo,
    frame::{CloseCode, CloseFrame},
    tunnel::{Drained, Side, TunnelEnd},
};

use crate::support::{
    axum_upstream,
    clients::{Client, Message, Refusal, Tungstenite},
    deadline::within,
    frames,
    raw::{RawClient, handshake_request},
    scripts,
    serve::serve_axum,
    tunnels::{AcceptingUpstream, BOTH, Ends, ProxyServer, encoded_by, one_tunnel, opposite},
    upstream::{RawUpstream, switching_protocols},
};

/// Longer than any test takes.
const LATE: Duration = Duration::from_secs(600);

fn counts(drained: Drained) -> (usize, usize) {
    (drained.closed, drained.aborted)
}

/// Runs a drain beside the test.
fn run(drain: Drain) -> JoinHandle<Drained> {
    tokio::spawn(async move { drain.run().await })
}

async fn finished(drain: JoinHandle<Drained>) -> Drained {
    within("the drain to end", drain).await.expect("no panic")
}

/// Gets the close of a drain at both ends and answers it.
async fn part(ends: &mut Ends, code: u16, reason: &str) {
    for side in BOTH {
        let close = ends.frame_at(side).await;
        assert_eq!(close.close(), Some((code, reason.to_owned())), "{side}");
        assert_eq!(close.mask.is_some(), side == Side::Upstream);
    }
    for side in BOTH {
        let answer = encoded_by(side, frames::close(code, ""));
        ends.end(side).send(&answer).await;
        ends.end(side).expect_eof().await;
    }
}

#[tokio::test]
async fn a_drain_of_nothing_is_over_at_once() {
    let accepting = AcceptingUpstream::start().await;
    let proxy = ProxyServer::to([accepting.url()]).await;
    let drained = within("the drain", proxy.drain().run()).await;
    assert_eq!(counts(drained), (0, 0));
    assert!(proxy.drain().is_draining());
}

/// New handshakes get 503 and `Retry-After`, and never reach an upstream.
#[tokio::test]
async fn new_upgrades_are_refused_and_all_else_is_served() {
    let (proxy, mut accepting, mut ends) = one_tunnel().await;
    proxy.drain().refuse_new();
    assert!(proxy.drain().is_draining());

    let mut client = RawClient::connect(proxy.addr()).await;
    let head = client.handshake("/ws/room", &[]).await;
    assert_eq!(head.status(), 503);
    let wait: u64 = head
        .get("retry-after")
        .expect("a time")
        .parse()
        .expect("seconds");
    assert!((1..=60).contains(&wait));
    client.read_body(&head).await;
    // The same connection goes on as HTTP, and the drain leaves all other requests alone.
    client.send_request("/page", &[]).await;
    let head = client.read_head().await;
    assert_eq!(
        (head.status(), &client.read_body(&head).await[..]),
        (200, &b"inner"[..])
    );
    assert_eq!(accepting.upstream().log().accepted, 1);
    assert_eq!(proxy.events().rejected, [ErrorKind::Draining]);

    // The open one is left alone.
    ends.pass_frame(Side::Client, frames::text("still here"))
        .await;
    ends.pass_frame(Side::Upstream, frames::text("still here"))
        .await;
    proxy.drain().resume();
    assert!(!proxy.drain().is_draining());
    let mut second = Ends::open(&proxy, &mut accepting).await;
    second
        .pass_frame(Side::Client, frames::text("welcome"))
        .await;
}

#[tokio::test]
async fn both_legs_of_every_tunnel_get_the_close_and_run_waits_for_them() {
    let mut accepting = AcceptingUpstream::start().await;
    let proxy = ProxyServer::to([accepting.url()]).await;
    let mut tunnels = Vec::new();
    for _ in 0..20 {
        tunnels.push(Ends::open(&proxy, &mut accepting).await);
    }
    let mut drain = run(proxy.drain().deadline(LATE));
    for ends in &mut tunnels {
        // 1001 going away (RFC 6455 §7.4.1).
        assert!(!drain.is_finished(), "some have not parted");
        part(ends, 1001, "going away").await;
    }
    let drained = within("the drain", &mut drain).await.expect("no panic");
    assert_eq!(counts(drained), (20, 0));
    assert_eq!(proxy.registry().count(), 0);
    let events = proxy
        .wait_for("the reports", |events| events.closed.len() == 20)
        .await;
    for (_, report) in &events.closed {
        assert_eq!(
            (&report.end, report.initiator),
            (&TunnelEnd::Drained, Side::Proxy)
        );
        assert!(!report.is_upstream_failure());
    }
}

#[tokio::test]
async fn code_and_reason_are_the_operators_choice() {
    let (proxy, _yard, mut ends) = one_tunnel().await;
    let frame = CloseFrame::new(CloseCode::SERVICE_RESTART, "back in a minute");
    let drain = run(proxy.drain().close_frame(frame).deadline(LATE));
    part(&mut ends, 1012, "back in a minute").await;
    assert_eq!(counts(finished(drain).await), (1, 0));
}

#[tokio::test]
async fn closes_that_are_spread_all_come() {
    let mut accepting = AcceptingUpstream::start().await;
    let proxy = ProxyServer::to([accepting.url()]).await;
    let mut tunnels = Vec::new();
    for _ in 0..30 {
        tunnels.push(Ends::open(&proxy, &mut accepting).await);
    }
    let drain = proxy
        .drain()
        .spread(Duration::from_millis(300))
        .deadline(LATE);
    let drain = run(drain);
    let mut parting = JoinSet::new();
    for mut ends in tunnels {
        parting.spawn(async move { part(&mut ends, 1001, "going away").await });
    }
    parting.join_all().await;
    assert_eq!(counts(finished(drain).await), (30, 0));
}

#[tokio::test]
async fn real_clients_are_told_and_the_application_answers() {
    let upstream = axum_upstream::start().await;
    let proxy = ProxyServer::to([upstream.url()]).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Tungstenite::connect(proxy.addr(), "/ws/echo").await);
    }
    let drain = run(proxy.drain().deadline(LATE));
    for client in &mut clients {
        let close = Message::Close(Some((1001, "going away".into())));
        assert_eq!(client.next().await, close);
        assert!(matches!(client.next().await, Message::Gone(_)));
    }
    assert_eq!(counts(finished(drain).await), (5, 0));
    let refusal = Tungstenite::try_connect(proxy.addr(), "/ws/echo", &[])
        .await
        .err();
    assert_eq!(refusal, Some(Refusal::Status(503)));
}

/// A client that neither answers nor leaves is cut off at the deadline; those who answer are not.
#[tokio::test]
async fn who_never_answers_is_cut_off_at_the_deadline() {
    let mut accepting = AcceptingUpstream::start().await;
    // The close timeout of the tunnel must not be the one that ends it.
    let config = wsplice::TunnelConfig::new().close_timeout(LATE);
    let proxy = ProxyServer::with([accepting.url()], |layer| layer.tunnel(config)).await;
    let mut good = Ends::open(&proxy, &mut accepting).await;
    let mut deaf = Ends::open(&proxy, &mut accepting).await;
    let drain = run(proxy.drain().deadline(Duration::from_secs(1)));
    part(&mut good, 1001, "going away").await;
    assert_eq!(counts(finished(drain).await), (1, 1));
    assert_eq!(proxy.registry().count(), 0);
    for side in BOTH {
        let close = deaf.frame_at(side).await.close();
        assert_eq!(close, Some((1001, "going away".into())));
        deaf.end(side).expect_reset().await;
    }
    let events = proxy
        .wait_for("the reports", |events| events.closed.len() == 2)
        .await;
    assert!(
        events
            .closed
            .iter()
            .all(|(_, report)| report.end == TunnelEnd::Drained)
    );
}

/// The drain's deadline is longer: the tunnel itself does not wait for ever.
#[tokio::test]
async fn who_never_answers_is_cut_off_by_the_tunnel_before() {
    let mut accepting = AcceptingUpstream::start().await;
    let config = wsplice::TunnelConfig::new().close_timeout(Duration::from_millis(200));
    let proxy = ProxyServer::with([accepting.url()], |layer| layer.tunnel(config)).await;
    let mut deaf = Ends::open(&proxy, &mut accepting).await;
    let drain = run(proxy.drain().deadline(LATE));
    assert_eq!(counts(finished(drain).await), (0, 1));
    for side in BOTH {
        let close = deaf.frame_at(side).await.close();
        assert_eq!(close, Some((1001, "going away".into())));
        deaf.end(side).expect_reset().await;
    }
}

/// A tunnel within a frame cannot be closed before the end of the frame.
#[tokio::test]
async fn a_drain_waits_for_the_end_of_a_frame() {
    for from in BOTH {
        let (proxy, _yard, mut ends) = one_tunnel().await;
        let frame = encoded_by(from, frames::binary(&[1; 3000]));
        ends.pass(from, &frame[..100]).await;
        let drain = run(proxy.drain().deadline(LATE));
        let close = ends.frame_at(from).await.close();
        assert_eq!(close, Some((1001, "going away".into())));
        assert!(!drain.is_finished());
        ends.pass(from, &frame[100..]).await;
        let other = opposite(from);
        let close = ends.frame_at(other).await.close();
        assert_eq!(close, Some((1001, "going away".into())));
        for side in BOTH {
            let answer = encoded_by(side, frames::close(1001, ""));
            ends.end(side).send(&answer).await;
        }
        assert_eq!(counts(finished(drain).await), (1, 0));
    }
}

#[tokio::test]
async fn a_partial_drain_takes_one_upstream_and_lets_new_ones_in() {
    let mut yards = [
        AcceptingUpstream::start().await,
        AcceptingUpstream::start().await,
    ];
    let proxy = ProxyServer::to([yards[0].url(), yards[1].url()]).await;
    let mut tunnels: Vec<(usize, Ends)> = Vec::new();
    for _ in 0..12 {
        tunnels.push(open_somewhere(&proxy, &mut yards).await);
    }
    let leaving = yards[0].url();
    let (mut gone, mut staying): (Vec<_>, Vec<_>) = tunnels
        .into_iter()
        .partition(|(accepting, _)| *accepting == 0);
    assert!(!gone.is_empty() && !staying.is_empty());

    let drain = proxy.drain().deadline(LATE);
    let on_leaving = move |tunnel: &TunnelInfo| format!("ws://{}", tunnel.upstream) == leaving;
    let drain = tokio::spawn(async move { drain.run_where(on_leaving).await });
    for (_, ends) in &mut gone {
        part(ends, 1001, "going away").await;
    }
    assert_eq!(counts(finished(drain).await), (gone.len(), 0));
    assert!(!proxy.drain().is_draining());
    for (_, ends) in &mut staying {
        ends.pass_frame(Side::Client, frames::text("here")).await;
        ends.pass_frame(Side::Upstream, frames::text("to stay"))
            .await;
    }
    let (_, mut newcomer) = open_somewhere(&proxy, &mut yards).await;
    newcomer.pass_frame(Side::Client, frames::text("new")).await;
    assert_eq!(proxy.registry().count(), staying.len() + 1);
}

async fn open_somewhere(proxy: &ProxyServer, yards: &mut [AcceptingUpstream; 2]) -> (usize, Ends) {
    let client = RawClient::open(proxy.addr(), "/ws/room").await;
    let [one, two] = yards;
    let (accepting, upstream) = tokio::select! {
        upstream = one.next() => (0, upstream),
        upstream = two.next() => (1, upstream),
    };
    (accepting, Ends { client, upstream })
}

/// A handshake that was admitted before the drain and accepted after it began.
#[tokio::test]
async fn a_handshake_under_way_is_closed_as_soon_as_it_stands() {
    let (give, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let upstream = RawUpstream::start(move |conn| {
        let give = give.clone();
        async move {
            let _ = give.send(conn);
        }
    })
    .await;
    let proxy = ProxyServer::to([upstream.url()]).await;
    let addr = proxy.addr();
    let client = tokio::spawn(async move { RawClient::open(addr, "/ws/room").await });
    let mut upstream = within("the dial", taken.recv())
        .await
        .expect("a connection");
    let head = upstream.read_request_head().await;
    let restart = CloseFrame::new(CloseCode::SERVICE_RESTART, "moving");
    proxy.drain().close_frame(restart).refuse_new();
    upstream.send(&switching_protocols(&head, &[])).await;
    let client = within("the 101", client).await.expect("no panic");
    let mut ends = Ends { client, upstream };
    part(&mut ends, 1012, "moving").await;
    let report = proxy.report().await;
    assert_eq!(report.end, TunnelEnd::Drained);
}

/// The host never lets the 101 through, so that the tunnel never begins.
#[tokio::test]
async fn a_tunnel_that_waits_for_its_client_is_cut_off_at_the_deadline() {
    let accepting = AcceptingUpstream::start().await;
    let layer =
        ProxyLayer::new(Pool::new([accepting.url()]).unwrap()).client_upgrade_timeout(2 * LATE);
    let (registry, drain) = (layer.registry(), layer.drain());
    let app = Router::new()
        .fallback(|| async { "inner" })
        .layer(layer)
        .layer(axum::middleware::map_response(
            |_: axum::response::Response| async { "another layer had the last word" },
        ));
    let server = serve_axum(app).await;
    let mut client = RawClient::connect(server.addr()).await;
    client.send(&handshake_request("/ws/room", &[])).await;
    assert_eq!(client.read_head().await.status(), 200);
    assert_eq!(registry.count(), 1);
    let drain = run(drain.deadline(Duration::from_millis(100)));
    assert_eq!(counts(finished(drain).await), (0, 1));
    accepting
        .upstream()
        .wait_for("its end", |log| log.ended == 1)
        .await;
}

/// axum's graceful shutdown forgets upgraded connections; the drain waits for them.
#[tokio::test]
async fn it_composes_with_axums_graceful_shutdown() {
    let mut accepting = AcceptingUpstream::start().await;
    let layer = ProxyLayer::new(Pool::new([accepting.url()]).unwrap());
    let (drain, registry) = (layer.drain().deadline(LATE), layer.registry());
    let (stop, server, addr) = serve_until_stopped(layer).await;
    let mut client = RawClient::connect(addr).await;
    assert_eq!(client.handshake("/ws/room", &[]).await.status(), 101);
    let upstream = accepting.next().await;
    let mut ends = Ends { client, upstream };
    ends.pass_frame(Side::Client, frames::text("hello")).await;

    stop.send(()).expect("the server runs");
    within("the server's end", server).await.expect("no panic");
    assert_eq!(registry.count(), 1, "the server has forgotten it");
    ends.pass_frame(Side::Upstream, frames::text("still here"))
        .await;
    let drain = run(drain);
    part(&mut ends, 1001, "going away").await;
    assert_eq!(counts(finished(drain).await), (1, 0));
    assert_eq!(registry.count(), 0);
}

/// The other order: the drain first, while the server still answers 503 to new handshakes.
#[tokio::test]
async fn a_server_stops_at_once_behind_a_drain() {
    let mut accepting = AcceptingUpstream::start().await;
    let layer = ProxyLayer::new(Pool::new([accepting.url()]).unwrap());
    let drain = layer.drain().deadline(LATE);
    let (stop, server, addr) = serve_until_stopped(layer).await;
    let client = RawClient::open(addr, "/ws/room").await;
    let upstream = accepting.next().await;
    let mut ends = Ends { client, upstream };
    let drain = run(drain);
    part(&mut ends, 1001, "going away").await;
    assert_eq!(counts(finished(drain).await), (1, 0));
    stop.send(()).expect("the server runs");
    within("the server's end", server).await.expect("no panic");
}

async fn serve_until_stopped(
    layer: ProxyLayer,
) -> (oneshot::Sender<()>, JoinHandle<()>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let app = Router::new().layer(layer);
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(async move {
        let stopped = async { stopped.await.unwrap_or(()) };
        let served = axum::serve(listener, app).with_graceful_shutdown(stopped);
        served.await.expect("to serve");
    });
    (stop, server, addr)
}

/// The announced close frames are still sent, although the drain was dropped.
#[tokio::test]
async fn a_drain_that_is_given_up_still_closes() {
    let (proxy, _yard, mut ends) = one_tunnel().await;
    let drain = proxy.drain().deadline(LATE);
    tokio::select! {
        biased;
        _ = drain.run() => panic!("neither side has answered yet"),
        () = std::future::ready(()) => {}
    }
    part(&mut ends, 1001, "going away").await;
    assert_eq!(proxy.report().await.end, TunnelEnd::Drained);
}

#[tokio::test]
async fn a_handshake_that_nobody_answers_does_not_hold_up_a_drain() {
    let upstream = RawUpstream::start(scripts::silence()).await;
    let proxy = ProxyServer::to([upstream.url()]).await;
    let addr = proxy.addr();
    // A handshake without a response is not a tunnel, and not waited for.
    let client = tokio::spawn(async move {
        let mut client = RawClient::connect(addr).await;
        client.send(&handshake_request("/ws/room", &[])).await;
        pending::<()>().await;
        drop(client);
    });
    upstream
        .wait_for("the request", |log| log.heads.len() == 1)
        .await;
    let drained = within("the drain", proxy.drain().deadline(LATE).run()).await;
    assert_eq!(counts(drained), (0, 0));
    client.abort();
}
