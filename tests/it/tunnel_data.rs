//! Bytes through a tunnel: all of them pass, unchanged and in order.

use std::time::{Duration, Instant};

use bytes::Bytes;
use wsplice::{
    TunnelConfig,
    tunnel::{Framing, Side, TunnelEnd},
};

use crate::support::{
    axum_upstream::{self, pushed},
    clients::{Client, Fast, Message, Tungstenite},
    frames::{self, RawFrame, masked, read_frame, unmasked},
    raw::{RawClient, handshake_request},
    rng::{Checksum, Xorshift, payload},
    scripts,
    serve::Server,
    tunnels::{
        AcceptingUpstream, BOTH, Ends, ProxyServer, encoded_by, one_tunnel, one_tunnel_with,
        opposite,
    },
    upstream::{RawConn, RawUpstream, switching_protocols},
};

async fn application() -> (Server, ProxyServer) {
    let upstream = axum_upstream::start().await;
    let proxy = ProxyServer::to([upstream.url()]).await;
    (upstream, proxy)
}

#[tokio::test]
async fn tungstenite_talks_to_an_application() {
    talks::<Tungstenite>().await;
    hears_all_that_is_pushed::<Tungstenite>().await;
    agrees_on_a_subprotocol::<Tungstenite>().await;
}

#[tokio::test]
async fn fastwebsockets_talks_to_an_application() {
    talks::<Fast>().await;
    hears_all_that_is_pushed::<Fast>().await;
    agrees_on_a_subprotocol::<Fast>().await;
}

async fn talks<C: Client>() {
    let (_upstream, proxy) = application().await;
    let mut client = C::connect(proxy.addr(), "/ws/echo").await;
    for text in ["", "hällo", &"x".repeat(70_000)] {
        client.send_text(text).await;
        assert_eq!(client.next().await, Message::Text(text.to_owned()));
    }
    for len in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        let payload = Bytes::from(payload(len as u64, len));
        client.send_binary(payload.clone()).await;
        assert_eq!(client.next().await, Message::Binary(payload));
    }
    // The application answers the client's own ping, after the messages before it.
    client.send_text("first").await;
    client.send_ping("then").await;
    assert_eq!(client.next().await, Message::Text("first".into()));
    assert_eq!(client.next().await, Message::Pong("then".into()));
}

async fn hears_all_that_is_pushed<C: Client>() {
    let (_upstream, proxy) = application().await;
    let mut client = C::connect(proxy.addr(), "/ws/push/50/30000").await;
    for index in 0..50 {
        let expected = Message::Binary(pushed(index, 30_000).into());
        assert_eq!(client.next().await, expected, "message {index}");
    }
}

async fn agrees_on_a_subprotocol<C: Client>() {
    let (_upstream, proxy) = application().await;
    let offer = [("sec-websocket-protocol", "superchat, v9")];
    let Ok(mut client) = C::try_connect(proxy.addr(), "/ws/sub", &offer).await else {
        panic!("expected a 101");
    };
    assert_eq!(client.headers()["sec-websocket-protocol"], "superchat");
    assert_eq!(client.next().await, Message::Text("superchat".into()));
}

/// 16 MiB up and 16 MiB down at the same time, each a single frame.
#[tokio::test]
async fn sixteen_mebibytes_both_ways_at_once() {
    const LEN: usize = 16 << 20;
    let up = masked(frames::binary(&payload(1, LEN)));
    let down = unmasked(frames::binary(&payload(2, LEN)));
    let (proxy, _yard, ends) = one_tunnel().await;
    let Ends {
        mut client,
        mut upstream,
    } = ends;
    let (at_client, at_upstream) = tokio::join!(
        client.exchange(&up, down.len()),
        upstream.exchange(&down, up.len()),
    );
    assert!(at_client == down, "the upstream's bytes changed");
    assert!(at_upstream == up, "the client's bytes changed");
    client.fin().await;
    upstream.fin().await;
    let report = proxy.report().await;
    assert_eq!(report.client_to_upstream.bytes, up.len() as u64);
    assert_eq!(report.upstream_to_client.bytes, down.len() as u64);
    assert_eq!(report.client_to_upstream.frames.binary, 1);
}

#[tokio::test]
async fn sixteen_mebibytes_come_back_from_an_application() {
    let (_upstream, proxy) = application().await;
    let mut client = Tungstenite::connect(proxy.addr(), "/ws/echo").await;
    let sent = Bytes::from(payload(3, 16 << 20));
    client.send_binary(sent.clone()).await;
    let Message::Binary(back) = client.next().await else {
        panic!("expected the message");
    };
    assert!(back == sent, "the message changed");
}

/// RFC 6455 §5.4: fragments stay as they were cut, with control frames between them.
#[tokio::test]
async fn fragments_stay_as_they_were_cut() {
    for from in BOTH {
        let (_gate, _yard, mut ends) = one_tunnel().await;
        let mut parts = frames::fragments(&["one ", "", "two ", "three"]);
        parts.insert(1, frames::ping(b"still there?"));
        parts.insert(3, frames::pong(b"unasked"));
        let bytes: Vec<u8> = parts
            .into_iter()
            .flat_map(|f| encoded_by(from, f))
            .collect();
        ends.pass(from, &bytes).await;
    }
}

/// RFC 6455 §5.5.2, §5.5.3: the endpoints' pings and pongs are theirs.
#[tokio::test]
async fn pings_and_pongs_of_the_endpoints_pass_in_order() {
    for from in BOTH {
        let (proxy, _yard, mut ends) = one_tunnel().await;
        let all = [
            frames::text("a"),
            frames::ping(b""),
            frames::ping(&[7; 125]),
            frames::text("b"),
            frames::pong(b"unasked"),
            frames::pong(b""),
            frames::text("c"),
        ];
        let bytes: Vec<u8> = all.into_iter().flat_map(|f| encoded_by(from, f)).collect();
        ends.pass(from, &bytes).await;
        drop(ends);
        let report = proxy.report().await;
        let (passed, other) = match from {
            Side::Client => (report.client_to_upstream, report.upstream_to_client),
            _ => (report.upstream_to_client, report.client_to_upstream),
        };
        let counts = passed.frames;
        assert_eq!((counts.text, counts.ping, counts.pong), (3, 2, 2));
        assert_eq!((passed.bytes, other.bytes), (bytes.len() as u64, 0));
    }
}

/// RFC 7692: frames of an extension agreed on end to end carry RSV1, and pass unread.
#[tokio::test]
async fn permessage_deflate_is_agreed_on_and_passed_end_to_end() {
    const OFFER: &str = "permessage-deflate; client_max_window_bits";
    const AGREED: &str = "permessage-deflate; server_no_context_takeover";
    for from in BOTH {
        let mut accepting = AcceptingUpstream::with(&[("Sec-WebSocket-Extensions", AGREED)]).await;
        let proxy = ProxyServer::to([accepting.url()]).await;
        let mut client = RawClient::connect(proxy.addr()).await;
        let head = client
            .handshake("/ws/room", &[("Sec-WebSocket-Extensions", OFFER)])
            .await;
        assert_eq!(head.status(), 101);
        assert_eq!(head.get("sec-websocket-extensions"), Some(AGREED));
        let upstream = accepting.next().await;
        let asked = &accepting.upstream().log().heads[0];
        assert_eq!(asked.get("sec-websocket-extensions"), Some(OFFER));

        let mut ends = Ends { client, upstream };
        // "Hello" in two fragments of RFC 7692 §7.2.3.1, and one in a frame of its own.
        let deflated = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
        ends.pass_frame(from, frames::odd(0x41, &deflated[..3]))
            .await;
        ends.pass_frame(from, frames::odd(0x80, &deflated[3..]))
            .await;
        ends.pass_frame(from, frames::odd(0xC1, &deflated)).await;
    }
}

/// Safari 15 compresses although the upstream has declined. RSV1 without an agreement is a violation
/// (RFC 6455 §5.2), which is the proxy's business only if it enforces the rules.
#[tokio::test]
async fn compressed_frames_without_an_agreement_pass_unless_rules_are_enforced() {
    const OFFER: [(&str, &str); 1] = [("Sec-WebSocket-Extensions", "permessage-deflate")];
    let deflated = frames::odd(0xC1, &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00]);
    for framing in [Framing::Observe, Framing::Opaque, Framing::Enforce] {
        let mut accepting = AcceptingUpstream::start().await;
        let proxy = ProxyServer::with([accepting.url()], |layer| {
            layer.tunnel(TunnelConfig::new().framing(framing))
        })
        .await;
        let mut ends = Ends::open_with(&proxy, &mut accepting, "/ws/room", &OFFER).await;
        if framing != Framing::Enforce {
            ends.pass_frame(Side::Client, deflated.clone()).await;
            ends.pass_frame(Side::Client, frames::text("and on")).await;
            continue;
        }
        ends.client.send(&frames::masked(deflated.clone())).await;
        let code = |frame: RawFrame| frame.close().map(|(code, _)| code);
        assert_eq!(code(ends.frame_at(Side::Client).await), Some(1002));
        assert_eq!(code(ends.frame_at(Side::Upstream).await), Some(1001));
        drop(ends);
        match proxy.report().await.end {
            TunnelEnd::Violation(_, Side::Client) => {}
            end => panic!("{end:?}"),
        }
    }
}

/// Frames that a later revision may define (RFC 6455 §5.2), or an extension has agreed on.
#[tokio::test]
async fn reserved_opcodes_and_bits_pass() {
    for from in BOTH {
        let (proxy, _yard, mut ends) = one_tunnel().await;
        for first in 0x00..=0xFF_u8 {
            // A close frame is for the end.
            if first & 0x0F != 0x08 {
                ends.pass_frame(from, frames::odd(first, b"?!")).await;
            }
        }
        drop(ends);
        let report = proxy.report().await;
        let passed = match from {
            Side::Client => report.client_to_upstream,
            _ => report.upstream_to_client,
        };
        assert_eq!(passed.frames.total(), 15 * 16);
        assert_eq!(passed.frames.reserved, 10 * 16);
        assert!(!passed.opaque);
    }
}

#[tokio::test]
async fn every_cut_of_a_stream_gives_the_same_stream() {
    for from in BOTH {
        let (proxy, _yard, mut ends) = one_tunnel().await;
        let bytes: Vec<u8> = [
            frames::text("a"),
            frames::binary(&payload(5, 300)),
            frames::ping(b"ping"),
            frames::odd(0x02, &payload(6, 66_000)[..200]),
            frames::odd(0x80, b""),
        ]
        .into_iter()
        .flat_map(|f| encoded_by(from, f))
        .collect();
        for byte in &bytes {
            ends.pass(from, &[*byte]).await;
        }
        let mut cuts = Xorshift::new(11);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((1 + cuts.below(40)).min(rest.len()));
            ends.pass(from, piece).await;
            rest = behind;
        }
        drop(ends);
        let report = proxy.report().await;
        let total =
            report.client_to_upstream.frames.total() + report.upstream_to_client.frames.total();
        assert_eq!(total, 10);
    }
}

/// After the 101 the bytes are the endpoints' own business, WebSocket or not.
#[tokio::test]
async fn what_is_no_websocket_passes_unread() {
    // A length of 2^63 and more is not that of a frame (RFC 6455 §5.2).
    let garbage = [&[0x82, 0x7F, 0xFF][..], &payload(9, 100_000)].concat();
    for from in BOTH {
        let (proxy, _yard, mut ends) = one_tunnel().await;
        ends.pass_frame(from, frames::text("a frame")).await;
        for byte in &garbage[..2000] {
            ends.pass(from, &[*byte]).await;
        }
        ends.pass(from, &garbage[2000..]).await;
        // The other direction is still understood.
        ends.pass_frame(opposite(from), frames::text("a frame"))
            .await;
        drop(ends);
        let report = proxy.report().await;
        let opaque = (
            report.client_to_upstream.opaque,
            report.upstream_to_client.opaque,
        );
        assert_eq!(opaque, (from == Side::Client, from == Side::Upstream));
    }
}

#[tokio::test]
async fn an_opaque_tunnel_reads_nothing() {
    let config = TunnelConfig::new().framing(Framing::Opaque);
    let (proxy, _yard, mut ends) = one_tunnel_with(|layer| layer.tunnel(config)).await;
    for from in BOTH {
        ends.pass(from, &payload(4, 50_000)).await;
        ends.pass_frame(from, frames::text("a frame")).await;
    }
    drop(ends);
    let report = proxy.report().await;
    assert_eq!(report.client_to_upstream.frames.total(), 0);
    assert!(report.client_to_upstream.opaque && report.upstream_to_client.opaque);
}

/// The frame that sozu lost: the first one, in the segment of the 101, from a server.
#[tokio::test]
async fn a_frame_behind_the_101_arrives() {
    for len in [0, 2, 5000, 100_000] {
        let first = unmasked(frames::binary(&payload(1, len)));
        for dribbled in [false, true] {
            let upstream = if dribbled && len < 5000 {
                RawUpstream::start(scripts::dribble(first.clone())).await
            } else {
                RawUpstream::start(scripts::accept_and(first.clone())).await
            };
            let proxy = ProxyServer::to([upstream.url()]).await;
            let mut client = RawClient::open(proxy.addr(), "/ws/room").await;
            assert_eq!(read_frame(&mut client).await.payload, payload(1, len));
            let second = masked(frames::text("second"));
            let back = client.exchange(&second, second.len()).await;
            assert_eq!(back, second);
        }
    }
}

#[tokio::test]
async fn a_frame_behind_the_handshake_arrives() {
    for len in [0, 2, 5000, 100_000] {
        let first = masked(frames::binary(&payload(1, len)));
        let mut accepting = AcceptingUpstream::start().await;
        let proxy = ProxyServer::to([accepting.url()]).await;
        let mut client = RawClient::connect(proxy.addr()).await;
        let request = [handshake_request("/ws/room", &[]), first.clone()].concat();
        let (sent, upstream) = tokio::join!(client.try_send(&request), accepting.next());
        sent.expect("the proxy takes what is sent");
        let mut upstream = upstream;
        assert_eq!(read_frame(&mut upstream).await.raw, first);
        assert_eq!(client.read_head().await.status(), 101);
    }
}

#[tokio::test]
async fn frames_behind_both_heads_arrive_before_what_comes_later() {
    let upstream = RawUpstream::start(|mut conn: RawConn| async move {
        let head = conn.read_request_head().await;
        let first = unmasked(frames::text("first down"));
        let answer = [switching_protocols(&head, &[]), first].concat();
        conn.send(&answer).await;
        let frame = read_frame(&mut conn).await;
        assert_eq!(frame.payload, b"first up");
        conn.send(&unmasked(frames::text("second down"))).await;
        assert_eq!(read_frame(&mut conn).await.payload, b"second up");
    })
    .await;
    let proxy = ProxyServer::to([upstream.url()]).await;
    let mut client = RawClient::connect(proxy.addr()).await;
    let first = masked(frames::text("first up"));
    client
        .send(&[handshake_request("/ws/room", &[]), first].concat())
        .await;
    assert_eq!(client.read_head().await.status(), 101);
    assert_eq!(read_frame(&mut client).await.payload, b"first down");
    assert_eq!(read_frame(&mut client).await.payload, b"second down");
    client.send(&masked(frames::text("second up"))).await;
    upstream
        .wait_for("the script's end", |log| log.ended == 1)
        .await;
}

/// The timeouts of the handshake end with the handshake: a quiet leg is not their business.
#[tokio::test]
async fn the_timeouts_of_the_handshake_do_not_apply_to_the_tunnel() {
    let short = Duration::from_millis(400);
    for busy in BOTH {
        let (_gate, _yard, mut ends) = one_tunnel_with(|layer| {
            layer
                .connect_timeout(short)
                .handshake_timeout(short)
                .client_upgrade_timeout(short)
        })
        .await;
        // One side talks for as long as would make all three fire, the other is quiet.
        let began = Instant::now();
        while began.elapsed() < 4 * short {
            ends.pass_frame(busy, frames::text("busy")).await;
        }
        ends.pass_frame(opposite(busy), frames::text("not any more"))
            .await;
    }
}

#[tokio::test]
async fn the_upstream_may_speak_first_and_alone() {
    let (_gate, _yard, mut ends) = one_tunnel().await;
    let mut sum = Checksum::new();
    let mut total = 0;
    for seed in 0..20 {
        let frame = unmasked(frames::binary(&payload(seed, 10_000)));
        sum.update(&frame);
        total += frame.len();
        ends.upstream.send(&frame).await;
    }
    assert_eq!(ends.client.read_checksum(total).await, sum);
}

#[tokio::test]
async fn masks_of_the_client_are_kept() {
    let (_gate, _yard, mut ends) = one_tunnel().await;
    for mask in [[0; 4], [0xFF; 4], [1, 2, 3, 4]] {
        let bytes = frames::masked_with(mask, frames::text("the same text"));
        ends.pass(Side::Client, &bytes).await;
    }
    // A client that does not mask breaks RFC 6455 §5.1; the upstream is the one to reject that.
    ends.pass(Side::Client, &unmasked(frames::text("bare")))
        .await;
    ends.pass(Side::Upstream, &masked(frames::text("masked")))
        .await;
    let frame: RawFrame = {
        ends.client.send(&masked(frames::text("still fine"))).await;
        ends.frame_at(Side::Upstream).await
    };
    assert_eq!(frame.payload, b"still fine");
}
