//! Ends of a tunnel: every way in which a side can leave, and the effect on the other side.

use std::io;

use tokio_test::io::Builder;
use wsplice::{
    TunnelReport,
    connect::Transport,
    frame::CloseCode,
    tunnel::{DirectionStats, ReceivedClose, Side, Tunnel, TunnelEnd},
};

use crate::support::{
    axum_upstream,
    clients::{Client, Fast, Message, Tungstenite},
    deadline::within,
    frames::{self, masked, unmasked},
    rng::{Checksum, payload},
    tunnels::{BOTH, Ends, ProxyServer, encoded_by, one_tunnel, opposite},
    wire::Wire,
};

fn from(report: &TunnelReport, side: Side) -> &DirectionStats {
    match side {
        Side::Client => &report.client_to_upstream,
        _ => &report.upstream_to_client,
    }
}

fn words(seen: Option<&ReceivedClose>) -> Option<(Option<u16>, &str)> {
    seen.map(|seen| (seen.code.map(CloseCode::as_u16), &*seen.reason))
}

#[tokio::test]
async fn tungstenite_closes_and_is_closed() {
    closes::<Tungstenite>().await;
    is_closed::<Tungstenite>().await;
}

#[tokio::test]
async fn fastwebsockets_closes_and_is_closed() {
    closes::<Fast>().await;
    is_closed::<Fast>().await;
}

async fn closes<C: Client>() {
    let upstream = axum_upstream::start().await;
    for (code, reason) in [
        (1000, ""),
        (1001, "away"),
        (3000, "ünïcode"),
        (4999, &*"r".repeat(123)),
    ] {
        let proxy = ProxyServer::to([upstream.url()]).await;
        let mut client = C::connect(proxy.addr(), "/ws/echo").await;
        client.send_close(code, reason).await;
        let close = Message::Close(Some((code, reason.to_owned())));
        assert_eq!(client.next().await, close);
        assert!(matches!(client.next().await, Message::Gone(_)));
        drop(client);
        let report = proxy.report().await;
        assert_eq!(
            (&report.end, report.initiator),
            (&TunnelEnd::Closed, Side::Client)
        );
        for side in BOTH {
            let seen = from(&report, side).close.as_ref();
            assert_eq!(words(seen), Some((Some(code), reason)), "{side}");
        }
    }
}

async fn is_closed<C: Client>() {
    let upstream = axum_upstream::start().await;
    let proxy = ProxyServer::to([upstream.url()]).await;
    let mut client = C::connect(proxy.addr(), "/ws/close/4001/not%20now").await;
    let close = Message::Close(Some((4001, "not now".into())));
    assert_eq!(client.next().await, close);
    // fastwebsockets answers by itself, tungstenite with the support's flush.
    drop(client);
    let report = proxy.report().await;
    assert_eq!(
        (&report.end, report.initiator),
        (&TunnelEnd::Closed, Side::Upstream)
    );
    let seen = report.upstream_to_client.close.as_ref();
    assert_eq!(words(seen), Some((Some(4001), "not now")));
}

/// RFC 6455 §7.1.2, by either side, with the server ending the connection first (§7.1.1) or last.
#[tokio::test]
async fn a_closing_handshake_passes_and_is_reported() {
    for starter in BOTH {
        for first_to_leave in BOTH {
            for (frame, seen) in closes_to_send() {
                let (proxy, _yard, mut ends) = one_tunnel().await;
                ends.pass_frame(starter, frame.clone()).await;
                ends.pass_frame(opposite(starter), frame).await;
                ends.end(first_to_leave).fin().await;
                ends.end(opposite(first_to_leave)).expect_eof().await;
                ends.end(opposite(first_to_leave)).fin().await;
                ends.end(first_to_leave).expect_eof().await;
                let report = proxy.report().await;
                assert_eq!(
                    (&report.end, report.initiator),
                    (&TunnelEnd::Closed, starter)
                );
                for side in BOTH {
                    assert_eq!(words(from(&report, side).close.as_ref()), Some(seen));
                    assert_eq!(from(&report, side).frames.close, 1);
                }
                assert!(!report.is_upstream_failure());
            }
        }
    }
}

fn closes_to_send() -> [(
    tungstenite::protocol::frame::Frame,
    (Option<u16>, &'static str),
); 4] {
    [
        (frames::close(1000, ""), (Some(1000), "")),
        (frames::close(4000, "enough"), (Some(4000), "enough")),
        (frames::odd(0x88, b""), (None, "")),
        // Not to be sent by RFC 6455 §7.4.1; still the endpoints' own business.
        (frames::close(1006, "odd"), (Some(1006), "odd")),
    ]
}

/// The bytes that pingora held back for a second: a few, followed by nothing.
#[tokio::test]
async fn a_small_close_frame_is_not_held_back() {
    for side in BOTH {
        let (_gate, _yard, mut ends) = one_tunnel().await;
        ends.pass_frame(side, frames::odd(0x88, b"")).await;
        // And none of ours behind it.
        ends.end(side).fin().await;
        ends.end(opposite(side)).expect_eof().await;
    }
}

/// An endpoint that ends the connection with its close frame, and never waits for the answer.
#[tokio::test]
async fn a_side_that_leaves_behind_its_close_frame_has_closed() {
    for side in BOTH {
        let (proxy, _yard, mut ends) = one_tunnel().await;
        let close = encoded_by(side, frames::close(1000, "bye"));
        ends.end(side).send(&close).await;
        let mut survivor = ends.drop_end(side);
        let wire = survivor.wire();
        assert_eq!(wire.read_exact(close.len()).await, close);
        // Frames that cross the close on the wire meet a closed connection; at some point the proxy
        // gets an error.
        let late = encoded_by(opposite(side), frames::binary(&payload(1, 100_000)));
        let mut written = Ok(());
        for _ in 0..100 {
            written = wire.try_send(&late).await;
            if written.is_err() {
                break;
            }
        }
        drop(survivor);
        let report = proxy.report().await;
        assert_eq!(
            (&report.end, report.initiator),
            (&TunnelEnd::Closed, side),
            "{written:?}"
        );
        assert!(!report.is_upstream_failure());
    }
}

/// pingora cut this: one side is done speaking, the other is not.
#[tokio::test]
async fn after_one_sides_end_all_of_the_other_still_arrives() {
    for done in BOTH {
        for before in [0, 3 << 20] {
            let (proxy, _yard, mut ends) = one_tunnel().await;
            let first = encoded_by(done, frames::binary(&payload(1, before)));
            let late = encoded_by(opposite(done), frames::binary(&payload(2, 5 << 20)));
            let close = encoded_by(done, frames::close(1000, "done"));
            {
                let Ends { client, upstream } = &mut ends;
                let (one, two): (&mut Wire, &mut Wire) = match done {
                    Side::Client => (client, upstream),
                    _ => (upstream, client),
                };
                let speaks = async {
                    one.send(&first).await;
                    one.send(&close).await;
                    one.fin().await;
                    one.read_checksum(late.len()).await
                };
                let listens = async {
                    let sum = two.read_checksum(first.len() + close.len()).await;
                    two.expect_eof().await;
                    // Only now, when the other side is known to be done.
                    two.send(&late).await;
                    two.fin().await;
                    sum
                };
                let (late_sum, first_sum) = tokio::join!(speaks, listens);
                assert_eq!(late_sum, Checksum::of(&late));
                assert_eq!(
                    first_sum,
                    Checksum::of(&[first.clone(), close.clone()].concat())
                );
                one.expect_eof().await;
            }
            let report = proxy.report().await;
            assert_eq!((&report.end, report.initiator), (&TunnelEnd::Closed, done));
            assert_eq!(from(&report, opposite(done)).bytes, late.len() as u64);
        }
    }
}

/// Without a close frame this is not a clean close; the upstream still gets an end.
#[tokio::test]
async fn a_client_that_ends_without_a_close_frame_gives_the_upstream_an_end_without_one() {
    let (proxy, _yard, mut ends) = one_tunnel().await;
    let last = masked(frames::text("last words"));
    ends.client.send(&last).await;
    ends.client.fin().await;
    assert_eq!(ends.upstream.read_to_end().await, last);
    let late = unmasked(frames::binary(&payload(1, 1 << 20)));
    let Ends { client, upstream } = &mut ends;
    let ((), got) = tokio::join!(upstream.send(&late), client.read_exact(late.len()));
    assert!(got == late);
    ends.upstream.fin().await;
    drop(ends.upstream);
    let _ = ends.client.read_to_end().await;
    let report = proxy.report().await;
    assert_eq!(
        (&report.end, report.initiator),
        (&TunnelEnd::ClosedWithoutFrame(Side::Client), Side::Client)
    );
    assert_eq!(report.client_to_upstream.close, None);
    assert!(!report.is_upstream_failure());
}

/// The client learns that it was the upstream: 1011, then the end (RFC 6455 §7.4.1).
#[tokio::test]
async fn an_upstream_that_ends_without_a_close_frame_gives_the_client_1011() {
    let (proxy, _yard, mut ends) = one_tunnel().await;
    ends.pass_frame(Side::Upstream, frames::text("last words"))
        .await;
    ends.upstream.fin().await;
    let close = ends.frame_at(Side::Client).await;
    assert_eq!((close.first, close.mask), (0x88, None));
    assert_eq!(
        close.close(),
        Some((1011, "upstream connection lost".into()))
    );
    // It answers as RFC 6455 §5.5.1 wants, and sees an orderly end.
    ends.client.send(&masked(frames::close(1011, ""))).await;
    ends.client.expect_eof().await;
    drop(ends);
    let report = proxy.report().await;
    assert_eq!(
        (&report.end, report.initiator),
        (
            &TunnelEnd::ClosedWithoutFrame(Side::Upstream),
            Side::Upstream
        )
    );
    assert_eq!(report.upstream_to_client.close, None);
    assert_eq!(report.upstream_to_client.frames.close, 0);
    assert!(report.is_upstream_failure());
}

#[tokio::test]
async fn an_upstream_that_drops_its_connection_gives_the_client_1011() {
    for with_words_under_way in [false, true] {
        let (proxy, _yard, mut ends) = one_tunnel().await;
        ends.pass_frame(Side::Client, frames::text("hello")).await;
        if with_words_under_way {
            ends.client.send(&masked(frames::text("unread"))).await;
        }
        let mut survivor = ends.drop_end(Side::Upstream);
        let close = frames::read_frame(survivor.wire()).await;
        assert_eq!(
            close.close(),
            Some((1011, "upstream connection lost".into()))
        );
        drop(survivor);
        let report = proxy.report().await;
        assert_eq!(report.initiator, Side::Upstream);
        assert!(report.is_upstream_failure(), "{report:?}");
    }
}

#[tokio::test]
async fn an_upstreams_reset_between_frames_gives_the_client_1011() {
    let (proxy, _yard, mut ends) = one_tunnel().await;
    ends.pass_frame(Side::Upstream, frames::text("last words"))
        .await;
    let mut survivor = ends.reset(Side::Upstream);
    let close = frames::read_frame(survivor.wire()).await;
    assert_eq!(
        close.close(),
        Some((1011, "upstream connection lost".into()))
    );
    survivor.wire().send(&masked(frames::close(1011, ""))).await;
    survivor.wire().expect_eof().await;
    let report = proxy.report().await;
    let end = TunnelEnd::Broken(Side::Upstream, io::ErrorKind::ConnectionReset);
    assert_eq!((&report.end, report.initiator), (&end, Side::Upstream));
    assert!(report.is_upstream_failure());
}

/// Half a frame is all that the client has: a close frame would be read as its other half.
#[tokio::test]
async fn an_upstreams_end_within_a_frame_is_never_a_close() {
    let frame = unmasked(frames::binary(&payload(1, 1000)));
    // In the length, at the end of the header, and in the payload.
    for cut in [1, 3, 4, 5, 1003] {
        for reset in [true, false] {
            let (proxy, _yard, mut ends) = one_tunnel().await;
            ends.pass_frame(Side::Upstream, frames::text("whole")).await;
            ends.pass(Side::Upstream, &frame[..cut]).await;
            let mut survivor = if reset {
                ends.reset(Side::Upstream)
            } else {
                ends.drop_end(Side::Upstream)
            };
            // Not one byte more. Where the upstream was reset the client is too.
            match survivor.wire().try_read_some().await {
                Ok(rest) => assert!(rest.is_empty() && !reset, "{rest:?}"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
            }
            drop(survivor);
            let report = proxy.report().await;
            assert_eq!(report.initiator, Side::Upstream);
            match report.end {
                TunnelEnd::Broken(Side::Upstream, _) => assert!(reset),
                TunnelEnd::TruncatedFrame(Side::Upstream) => assert!(!reset),
                end => panic!("{end:?}, cut at {cut}"),
            }
            assert!(report.upstream_to_client.close.is_none());
        }
    }
}

#[tokio::test]
async fn a_clients_reset_is_a_reset_for_the_upstream() {
    for cut in [0, 1, 6, 500] {
        let (proxy, _yard, mut ends) = one_tunnel().await;
        ends.pass_frame(Side::Upstream, frames::text("hello")).await;
        let frame = masked(frames::binary(&payload(1, 1000)));
        ends.pass(Side::Client, &frame[..cut]).await;
        let mut survivor = ends.reset(Side::Client);
        match survivor.wire().try_read_some().await {
            Ok(rest) => panic!("expected a reset, got {rest:?}"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
        let report = proxy.report().await;
        let end = TunnelEnd::Broken(Side::Client, io::ErrorKind::ConnectionReset);
        assert_eq!((&report.end, report.initiator), (&end, Side::Client));
        assert!(!report.is_upstream_failure());
    }
}

#[tokio::test]
async fn a_clients_end_within_a_frame_is_an_end_within_a_frame_for_the_upstream() {
    let (proxy, _yard, mut ends) = one_tunnel().await;
    let frame = masked(frames::binary(&payload(1, 1000)));
    ends.client.send(&frame[..500]).await;
    ends.client.fin().await;
    assert_eq!(ends.upstream.read_to_end().await, frame[..500]);
    drop(ends);
    let report = proxy.report().await;
    assert_eq!(
        (&report.end, report.initiator),
        (&TunnelEnd::TruncatedFrame(Side::Client), Side::Client)
    );
}

/// Frames sent before a connection broke are not lost because the other side noticed first.
#[tokio::test]
async fn last_words_arrive_although_writing_to_their_speaker_fails() {
    for side in BOTH {
        for len in [10, 200_000] {
            let last = [
                encoded_by(side, frames::binary(&payload(1, len))),
                encoded_by(side, frames::close(4002, "last words")),
            ]
            .concat();
            let (proxy, _yard, mut ends) = one_tunnel().await;
            let mut flood = Vec::new();
            for _ in 0..20 {
                flood.extend(encoded_by(
                    opposite(side),
                    frames::binary(&payload(2, 50_000)),
                ));
            }
            // This side sends, reads nothing, and leaves; the other side sends all the while.
            let Ends { client, upstream } = &mut ends;
            let (one, two): (&mut Wire, &mut Wire) = match side {
                Side::Client => (client, upstream),
                _ => (upstream, client),
            };
            let (got, ()) = tokio::join!(two.read_exact(last.len()), one.send(&last));
            assert!(got == last);
            let mut survivor = ends.drop_end(side);
            let _ = survivor.wire().try_send(&flood).await;
            drop(survivor);
            let report = proxy.report().await;
            assert_eq!((&report.end, report.initiator), (&TunnelEnd::Closed, side));
        }
    }
}

/// The same, with the order forced: the write fails first, the last words are read after it.
#[tokio::test]
async fn a_write_that_fails_does_not_hide_what_is_still_to_be_read() {
    for side in BOTH {
        let question = encoded_by(opposite(side), frames::text("anyone?"));
        let last = encoded_by(side, frames::close(4002, "last words"));
        let broken = Builder::new()
            .write_error(io::ErrorKind::BrokenPipe.into())
            .read(&last)
            .build();
        let healthy = Builder::new().read(&question).write(&last).build();
        let (client, upstream) = match side {
            Side::Client => (broken, healthy),
            _ => (healthy, broken),
        };
        let tunnel = Tunnel::new(Transport::new(client), Transport::new(upstream));
        let report = within("the tunnel's end", tunnel).await;
        assert_eq!((&report.end, report.initiator), (&TunnelEnd::Closed, side));
        let seen = from(&report, side).close.as_ref();
        assert_eq!(words(seen), Some((Some(4002), "last words")));
    }
}

#[tokio::test]
async fn every_end_leaves_nothing_behind() {
    let (proxy, mut accepting, first) = one_tunnel().await;
    drop(first);
    for round in 0..20 {
        let mut ends = Ends::open(&proxy, &mut accepting).await;
        let side = BOTH[round % 2];
        match round % 4 {
            0 | 1 => drop(ends.reset(side)),
            2 => {
                ends.pass_frame(side, frames::close(1000, "")).await;
                drop(ends.drop_end(side));
            }
            _ => drop(ends),
        }
    }
    let events = proxy
        .wait_for("the end of all", |events| events.closed.len() == 21)
        .await;
    assert_eq!(events.opened.len(), 21);
    assert_eq!(proxy.registry().count(), 0);
    assert!(proxy.registry().list().is_empty());
}
