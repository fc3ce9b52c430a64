//! The host's function for tunnels that lost their upstream, through the layer.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use tokio::sync::mpsc;
use wsplice::{
    AuthorizationRequest, Rejection, RequestOptions, TunnelInfo, TunnelReport,
    frame::{CloseCode, CloseFrame, Message},
    tunnel::{
        Side,
        reattach::{
            ClientMessage, Loss, Reattach, ReattachDecision, ReattachRefusal, ReattachRequest,
            Restoration,
        },
    },
};

use crate::support::{
    frames::{close, masked, read_frame, text, unmasked},
    tunnels::{AcceptingUpstream, Ends, ProxyServer},
};

/// Reattaches without a random delay.
fn at_once() -> Reattach {
    Reattach::new().spread(Duration::ZERO)
}

/// A proxy with these settings, and a tunnel through it.
async fn start(reattach: Reattach) -> (AcceptingUpstream, ProxyServer, Ends) {
    let mut accepting = AcceptingUpstream::start().await;
    let proxy = ProxyServer::with([accepting.url()], |layer| layer.reattach(reattach)).await;
    let ends = Ends::open_with(&proxy, &mut accepting, "/ws/a?b", &[("x-room", "7")]).await;
    (accepting, proxy, ends)
}

/// Subscriptions of one tunnel.
#[derive(Clone, Debug, Default)]
struct Subscriptions(Arc<Mutex<Vec<Vec<u8>>>>);

#[tokio::test]
async fn a_host_restores_subscriptions_that_a_client_made_late() {
    let tap = |tunnel: &TunnelInfo, message: &ClientMessage| {
        let Subscriptions(list) = tunnel.value().expect("each tunnel has one");
        list.lock().unwrap().push(message.bytes().to_vec());
    };
    let restore = async |request: ReattachRequest| {
        let Subscriptions(list) = request.tunnel().value().expect("each tunnel has one");
        let list = list.lock().unwrap().clone();
        let messages = list.into_iter().map(Message::binary);
        messages.fold(Restoration::new(), Restoration::to_upstream)
    };
    let mut accepting = AcceptingUpstream::start().await;
    let reattach = at_once().tap(1024, tap).on_reattach(restore);
    let proxy = ProxyServer::with([accepting.url()], |layer| {
        let options = async |_: AuthorizationRequest| {
            Ok::<_, Rejection>(RequestOptions::new().value(Subscriptions::default()))
        };
        layer.reattach(reattach).authorize(options)
    })
    .await;
    let mut ends = Ends::open(&proxy, &mut accepting).await;
    let topics = ["early", "before the second loss", "late"];
    for known in 1..=topics.len() {
        let topic = topics[known - 1];
        ends.pass_frame(Side::Client, text(topic)).await;
        drop(ends.upstream);
        ends.upstream = accepting.next().await;
        for topic in &topics[..known] {
            let frame = ends.frame_at(Side::Upstream).await;
            assert_eq!((frame.first, &*frame.payload), (0x82, topic.as_bytes()));
            assert!(frame.mask.is_some(), "RFC 6455 §5.1");
        }
    }
}

#[tokio::test]
async fn a_host_sees_the_tunnel_its_head_and_the_loss_and_adds_headers_for_one_upstream() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let restore = move |request: ReattachRequest| {
        seen.send(request).unwrap();
        let name = HeaderName::from_static("x-resume");
        let value = HeaderValue::from_static("42");
        std::future::ready(Restoration::new().header(name, value))
    };
    let (mut accepting, proxy, mut ends) = start(at_once().on_reattach(restore)).await;
    drop(ends.upstream);
    ends.upstream = accepting.next().await;
    ends.pass_frame(Side::Client, text("on")).await;
    let request = requests.recv().await.unwrap();
    assert_eq!(request.tunnel().id, proxy.registry().list()[0].info.id);
    assert_eq!(request.head().headers()["x-room"], "7");
    assert_eq!(request.head().query(), Some("b"));
    assert_eq!(request.loss(), Loss::ClosedWithoutFrame);
    let heads = accepting.upstream().log().heads;
    assert_eq!(heads[0].get("x-resume"), None);
    assert_eq!(heads[1].get("x-resume"), Some("42"));
    assert_eq!(heads[1].get("x-room"), Some("7"));
}

/// Expects that the client gets a close frame with this code, and returns the report.
async fn closed(mut ends: Ends, proxy: &ProxyServer, code: u16) -> TunnelReport {
    drop(ends.upstream);
    let frame = read_frame(&mut ends.client).await;
    assert_eq!(frame.close().map(|(code, _)| code), Some(code));
    drop(ends.client);
    proxy.report().await
}

#[tokio::test]
async fn a_host_that_closes_panics_or_takes_too_long_ends_the_tunnel_with_a_reason() {
    let closes = async |_: ReattachRequest| {
        ReattachDecision::from(CloseFrame::new(CloseCode::new(4001), "connect again"))
    };
    let panics = async |_: ReattachRequest| -> ReattachDecision { panic!("the host's panic") };
    let never = async |_: ReattachRequest| pending::<ReattachDecision>().await;
    let within = Duration::from_millis(50);
    for (reattach, code, refusal) in [
        (at_once().on_reattach(closes), 4001, ReattachRefusal::Hook),
        (
            at_once().on_reattach(panics),
            1011,
            ReattachRefusal::HookPanic,
        ),
        (
            at_once().on_reattach(never).decision_timeout(within),
            1011,
            ReattachRefusal::HookTimeout,
        ),
    ] {
        let (_accepting, proxy, ends) = start(reattach).await;
        let report = closed(ends, &proxy, code).await;
        assert_eq!(report.reattach_refusal, Some(refusal));
        assert!(report.upstream_changes.is_empty());
    }
}

#[tokio::test]
async fn the_future_of_a_host_is_dropped_when_the_client_leaves() {
    struct Dropped(mpsc::UnboundedSender<&'static str>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }
    let (events, mut seen) = mpsc::unbounded_channel();
    let restore = move |_: ReattachRequest| {
        let guard = Dropped(events.clone());
        async move {
            guard.0.send("called").unwrap();
            pending::<ReattachDecision>().await
        }
    };
    let (_accepting, proxy, ends) = start(at_once().on_reattach(restore)).await;
    drop(ends.upstream);
    assert_eq!(seen.recv().await, Some("called"));
    ends.client.reset();
    assert_eq!(seen.recv().await, Some("dropped"));
    assert_eq!(proxy.report().await.reattach_refusal, None);
}

#[tokio::test]
async fn a_login_is_replayed_and_its_response_not_shown_twice() {
    let (mut accepting, _proxy, mut ends) = start(at_once().replay(1).swallow(1)).await;
    ends.pass_frame(Side::Client, text("login")).await;
    ends.pass_frame(Side::Upstream, text("welcome")).await;
    drop(ends.upstream);
    ends.upstream = accepting.next().await;
    assert_eq!(ends.frame_at(Side::Upstream).await.payload, b"login");
    ends.upstream.send(&unmasked(text("welcome"))).await;
    ends.pass_frame(Side::Upstream, text("live")).await;
    ends.pass_frame(Side::Client, text("on")).await;
}

#[tokio::test]
async fn a_host_waits_for_the_response_to_a_login() {
    let restore = async |_: ReattachRequest| {
        Restoration::new()
            .to_upstream(Message::text("login"))
            .await_messages(1)
            .to_upstream(Message::text("subscribe"))
    };
    let (mut accepting, _proxy, mut ends) = start(at_once().on_reattach(restore).swallow(1)).await;
    ends.pass_frame(Side::Upstream, text("welcome")).await;
    drop(ends.upstream);
    ends.upstream = accepting.next().await;
    assert_eq!(ends.frame_at(Side::Upstream).await.payload, b"login");
    // Now the loss is certain, and the message does not go to the lost upstream.
    ends.client.send(&masked(text("of the client"))).await;
    ends.upstream.send(&unmasked(text("welcome"))).await;
    assert_eq!(ends.frame_at(Side::Upstream).await.payload, b"subscribe");
    assert_eq!(
        ends.frame_at(Side::Upstream).await.payload,
        b"of the client"
    );
    ends.pass_frame(Side::Upstream, text("live")).await;
}

#[tokio::test]
async fn an_upstream_that_closes_in_place_of_a_response_ends_the_tunnel() {
    let restore = async |_: ReattachRequest| {
        let login = Restoration::new().to_upstream(Message::text("login"));
        login.await_messages(1)
    };
    let (mut accepting, proxy, mut ends) = start(at_once().on_reattach(restore)).await;
    drop(ends.upstream);
    let mut next = accepting.next().await;
    next.send(&unmasked(close(4401, "Unauthorized"))).await;
    let frame = read_frame(&mut ends.client).await;
    assert_eq!(frame.close().map(|(code, _)| code), Some(1011));
    drop(ends.client);
    let report = proxy.report().await;
    assert_eq!(report.reattach_refusal, Some(ReattachRefusal::Refused));
}
