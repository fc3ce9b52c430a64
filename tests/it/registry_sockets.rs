//! The registry and the observer, on tunnels that run.

use std::time::SystemTime;

use wsplice::{
    ErrorKind,
    frame::{CloseCode, CloseFrame},
    tunnel::{Side, TunnelEnd, registry::TunnelStatus},
};

use crate::support::{
    axum_upstream,
    clients::{Client, Fast, Message, Tungstenite},
    frames,
    frames::{masked, unmasked},
    raw::RawClient,
    tunnels::{AcceptingUpstream, BOTH, Ends, ProxyServer, encoded_by, one_tunnel, opposite},
};

fn restart() -> CloseFrame {
    CloseFrame::new(CloseCode::SERVICE_RESTART, "moving")
}

/// The number of the only tunnel.
fn only_id(proxy: &ProxyServer) -> u64 {
    proxy.registry().list()[0].info.id
}

/// Waits for the figures: a tunnel publishes them when it has nothing more to do, which may be
/// shortly after the far end has got the bytes.
async fn figures(proxy: &ProxyServer, settled: impl Fn(&TunnelStatus) -> bool) -> TunnelStatus {
    for _ in 0..1_000_000 {
        let list = proxy.registry().list();
        assert_eq!(list.len(), 1);
        if let Some(status) = list.into_iter().find(|status| settled(status)) {
            return status;
        }
        tokio::task::yield_now().await;
    }
    panic!(
        "the figures stay as they are: {:?}",
        proxy.registry().list()
    );
}

#[tokio::test]
#[cfg_attr(not(feature = "axum"), ignore = "axum tells the address")]
async fn a_tunnel_is_listed_with_what_is_known_of_it() {
    let mut accepting = AcceptingUpstream::with(&[("Sec-WebSocket-Protocol", "chat")]).await;
    let proxy = ProxyServer::to([accepting.url()]).await;
    assert!(proxy.registry().list().is_empty());
    let before = SystemTime::now();
    let offer = [("Sec-WebSocket-Protocol", "superchat, chat")];
    let ends = Ends::open_with(
        &proxy,
        &mut accepting,
        "/ws/a%20room/1?token=secret",
        &offer,
    )
    .await;
    assert_eq!(proxy.registry().count(), 1);

    let status = figures(&proxy, |_| true).await;
    assert!(status.info.id > 0);
    assert_eq!(&*status.info.path, "/ws/a%20room/1");
    assert_eq!(format!("ws://{}", status.info.upstream), accepting.url());
    assert_eq!(status.info.subprotocol.as_deref(), Some("chat"));
    assert!(status.info.opened >= before && status.info.opened <= SystemTime::now());
    assert!(!format!("{status:?}").contains("secret"));
    let client = status.info.client.expect("axum passes the address on");
    assert!(client.ip().is_loopback());
    let events = proxy.events();
    assert_eq!((events.opened.len(), events.closed.len()), (1, 0));
    assert_eq!(events.opened[0].client, Some(client));
    drop(ends);
    proxy.report().await;
    assert!(proxy.registry().list().is_empty());
}

#[tokio::test]
async fn bytes_and_frames_are_counted_while_they_pass() {
    let (proxy, _yard, mut ends) = one_tunnel().await;
    for from in BOTH {
        let frames = [
            frames::text("one"),
            frames::ping(b"two"),
            frames::binary(&[3; 70_000]),
        ];
        let bytes: Vec<u8> = frames
            .into_iter()
            .flat_map(|f| encoded_by(from, f))
            .collect();
        ends.pass(from, &bytes).await;
        let status = figures(&proxy, |status| {
            let leg = match from {
                Side::Client => status.client,
                _ => status.upstream,
            };
            (leg.bytes, leg.frames) == (bytes.len() as u64, 3)
        })
        .await;
        assert_eq!(status.client.rtt, None);
        if from == Side::Client {
            assert_eq!((status.upstream.bytes, status.upstream.frames), (0, 0));
        }
    }
}

/// Both ends get the frame with its code and reason, answer it, and get the end of the connection.
#[tokio::test]
async fn a_close_by_number_reaches_both_ends() {
    for first_to_answer in BOTH {
        let (proxy, _yard, mut ends) = one_tunnel().await;
        let id = proxy.registry().list()[0].info.id;
        assert!(
            !proxy.registry().close(id + 1, restart()),
            "there is no such tunnel"
        );
        assert!(proxy.registry().close(id, restart()));
        for side in [first_to_answer, opposite(first_to_answer)] {
            let close = ends.frame_at(side).await;
            assert_eq!(close.first, 0x88);
            assert_eq!(close.close(), Some((1012, "moving".into())));
            // RFC 6455 §5.1: to the upstream we are a client.
            assert_eq!(close.mask.is_some(), side == Side::Upstream);
            let answer = encoded_by(side, frames::close(1012, ""));
            ends.end(side).send(&answer).await;
            ends.end(side).expect_eof().await;
        }
        drop(ends);
        let report = proxy.report().await;
        assert_eq!(
            (&report.end, report.initiator),
            (&TunnelEnd::Requested, Side::Proxy)
        );
        assert!(!report.is_upstream_failure());
        assert!(!proxy.registry().close(id, restart()), "it is over");
    }
}

/// A close waits for the end of the frame that is under way (RFC 6455 §5.5).
#[tokio::test]
async fn a_close_does_not_land_within_a_frame() {
    for from in BOTH {
        let (proxy, _yard, mut ends) = one_tunnel().await;
        let frame = encoded_by(from, frames::binary(&[1; 5000]));
        ends.pass(from, &frame[..1234]).await;
        assert!(proxy.registry().close(only_id(&proxy), restart()));
        // The side that is between two frames gets it at once, which shows that it was obeyed.
        let close = ends.frame_at(from).await;
        assert_eq!(close.close(), Some((1012, "moving".into())));
        ends.pass(from, &frame[1234..]).await;
        let close = ends.frame_at(opposite(from)).await;
        assert_eq!(close.close(), Some((1012, "moving".into())));
        drop(ends);
        proxy.report().await;
    }
}

#[tokio::test]
async fn a_close_comes_between_the_fragments_of_a_message() {
    for from in BOTH {
        let (proxy, _yard, mut ends) = one_tunnel().await;
        let [first, _second] = <[_; 2]>::try_from(frames::fragments(&["a", "b"])).expect("two");
        ends.pass_frame(from, first).await;
        assert!(proxy.registry().close(only_id(&proxy), restart()));
        for side in BOTH {
            let close = ends.frame_at(side).await.close();
            assert_eq!(close, Some((1012, "moving".into())));
        }
        drop(ends);
        proxy.report().await;
    }
}

/// Frames sent before the close arrive before it; frames sent after it are dropped.
#[tokio::test]
async fn nothing_follows_our_close_frame() {
    for from in BOTH {
        let (proxy, _yard, mut ends) = one_tunnel().await;
        ends.pass_frame(from, frames::text("before")).await;
        assert!(proxy.registry().close(only_id(&proxy), restart()));
        let close = ends.frame_at(from).await;
        assert_eq!(close.close(), Some((1012, "moving".into())));
        let late = [frames::text("late"), frames::close(1012, "")];
        let late: Vec<u8> = late.into_iter().flat_map(|f| encoded_by(from, f)).collect();
        ends.end(from).send(&late).await;
        let other = opposite(from);
        let close = ends.frame_at(other).await;
        assert_eq!(close.close(), Some((1012, "moving".into())));
        let answer = encoded_by(other, frames::close(1012, ""));
        ends.end(other).send(&answer).await;
        ends.end(other).expect_eof().await;
        ends.end(from).expect_eof().await;
        drop(ends);
        let report = proxy.report().await;
        assert_eq!(report.end, TunnelEnd::Requested);
    }
}

#[tokio::test]
async fn real_clients_see_the_code_and_the_reason() {
    is_closed_by_the_proxy::<Tungstenite>().await;
    is_closed_by_the_proxy::<Fast>().await;
}

async fn is_closed_by_the_proxy<C: Client>() {
    let upstream = axum_upstream::start().await;
    let proxy = ProxyServer::to([upstream.url()]).await;
    let mut client = C::connect(proxy.addr(), "/ws/echo").await;
    client.send_text("hello").await;
    assert_eq!(client.next().await, Message::Text("hello".into()));
    assert_eq!(proxy.registry().close_where(|_| true, restart()), 1);
    let close = Message::Close(Some((1012, "moving".into())));
    assert_eq!(client.next().await, close);
    assert!(matches!(client.next().await, Message::Gone(_)));
    drop(client);
    let report = proxy.report().await;
    assert_eq!(report.end, TunnelEnd::Requested);
    // The application is an ordinary WebSocket server: it has answered the close.
    let seen = report.upstream_to_client.close.expect("an answer");
    assert_eq!(seen.code, Some(CloseCode::SERVICE_RESTART));
}

#[tokio::test]
async fn a_close_by_predicate_takes_what_it_picks_and_nothing_else() {
    let mut yards = [
        AcceptingUpstream::start().await,
        AcceptingUpstream::start().await,
    ];
    let proxy = ProxyServer::to([yards[0].url(), yards[1].url()]).await;
    let mut tunnels: Vec<(usize, Ends)> = Vec::new();
    for room in 0..10 {
        let mut client = RawClient::connect(proxy.addr()).await;
        let path = format!("/ws/room/{room}");
        assert_eq!(client.handshake(&path, &[]).await.status(), 101);
        let [one, two] = &mut yards;
        let (accepting, upstream) = tokio::select! {
            upstream = one.next() => (0, upstream),
            upstream = two.next() => (1, upstream),
        };
        tunnels.push((accepting, Ends { client, upstream }));
    }
    let retired = yards[0].url();
    let on_retired = tunnels
        .iter()
        .filter(|(accepting, _)| *accepting == 0)
        .count();
    assert!((1..10).contains(&on_retired), "both upstreams are used");

    let picked = proxy.registry().close_where(
        |tunnel| format!("ws://{}", tunnel.upstream) == retired,
        restart(),
    );
    assert_eq!(picked, on_retired);
    for (accepting, ends) in &mut tunnels {
        if *accepting == 0 {
            for side in BOTH {
                let close = ends.frame_at(side).await.close();
                assert_eq!(close, Some((1012, "moving".into())));
                let answer = encoded_by(side, frames::close(1012, ""));
                ends.end(side).send(&answer).await;
            }
        } else {
            ends.pass_frame(Side::Client, frames::text("untouched"))
                .await;
        }
    }
    proxy
        .wait_for("the picked ones' end", |events| {
            events.closed.len() == on_retired
        })
        .await;
    assert_eq!(proxy.registry().count(), 10 - on_retired);
    let by_path = |tunnel: &wsplice::TunnelInfo| tunnel.path.ends_with("/99");
    assert_eq!(proxy.registry().close_where(by_path, restart()), 0);
}

#[tokio::test]
async fn numbers_are_never_used_twice() {
    let (proxy, mut accepting, first) = one_tunnel().await;
    let number = proxy.registry().list()[0].info.id;
    drop(first);
    proxy.report().await;
    let _second = Ends::open(&proxy, &mut accepting).await;
    let _third = Ends::open(&proxy, &mut accepting).await;
    let mut ids: Vec<u64> = proxy.registry().list().iter().map(|t| t.info.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [number + 1, number + 2]);
}

/// A handshake that never became a tunnel is in no list.
#[tokio::test]
async fn a_refused_handshake_is_not_listed() {
    use crate::support::{scripts, scripts::Then, upstream::RawUpstream};
    let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let upstream = RawUpstream::start(scripts::fixed(answer, Then::Hold)).await;
    let proxy = ProxyServer::to([upstream.url()]).await;
    let mut client = RawClient::connect(proxy.addr()).await;
    let head = client.handshake("/ws/room", &[]).await;
    assert_eq!(head.status(), 403);
    assert_eq!(client.read_body(&head).await, "no");
    assert_eq!(proxy.registry().count(), 0);
    assert!(proxy.events().opened.is_empty());
}

/// The report of the end: everything that the registry showed, and the side that began.
#[tokio::test]
async fn the_report_tells_what_passed() {
    let (proxy, _yard, mut ends) = one_tunnel().await;
    let up = [
        frames::text("a"),
        frames::odd(0x01, b"b"),
        frames::odd(0x00, b"c"),
        frames::odd(0x80, b"d"),
        frames::binary(&[0; 1000]),
        frames::ping(b"e"),
    ];
    let down = [
        frames::pong(b"e"),
        frames::odd(0x83, b"f"),
        frames::text("g"),
    ];
    let up: Vec<u8> = up.into_iter().flat_map(masked).collect();
    let down: Vec<u8> = down.into_iter().flat_map(unmasked).collect();
    ends.pass(Side::Client, &up).await;
    ends.pass(Side::Upstream, &down).await;
    let (bye, good_bye) = (frames::close(1000, "bye"), frames::close(1000, "good bye"));
    ends.pass_frame(Side::Upstream, bye).await;
    ends.pass_frame(Side::Client, good_bye).await;
    drop(ends);
    let report = proxy.report().await;
    let events = proxy.events();
    assert_eq!(events.opened[0].id, events.closed[0].0.id);
    assert_eq!(
        (&report.end, report.initiator),
        (&TunnelEnd::Closed, Side::Upstream)
    );

    let passed = &report.client_to_upstream;
    assert_eq!(passed.bytes, (up.len() + 6 + 10) as u64);
    let counts = passed.frames;
    assert_eq!((counts.text, counts.binary, counts.continuation), (2, 1, 2));
    assert_eq!(
        (counts.ping, counts.pong, counts.close, counts.reserved),
        (1, 0, 1, 0)
    );
    assert_eq!(
        passed.close.as_ref().map(|close| &*close.reason),
        Some("good bye")
    );

    let passed = &report.upstream_to_client;
    assert_eq!(passed.bytes, (down.len() + 2 + 5) as u64);
    let counts = passed.frames;
    assert_eq!(
        (counts.text, counts.pong, counts.close, counts.reserved),
        (1, 1, 1, 1)
    );
    assert_eq!(
        passed.close.as_ref().map(|close| &*close.reason),
        Some("bye")
    );
    assert!(report.client_rtt.is_none() && report.upstream_rtt.is_none());
}

#[tokio::test]
async fn a_rejection_is_told_by_its_kind() {
    let (proxy, _yard, _ends) = one_tunnel().await;
    let mut client = RawClient::connect(proxy.addr()).await;
    let head = client
        .handshake("/ws/room", &[("Sec-WebSocket-Version", "8")])
        .await;
    assert_eq!(head.status(), 426);
    let events = proxy
        .wait_for("it", |events| !events.rejected.is_empty())
        .await;
    assert_eq!(events.rejected, [ErrorKind::MalformedHandshake]);
    assert_eq!(events.opened.len(), 1, "the good one");
}
