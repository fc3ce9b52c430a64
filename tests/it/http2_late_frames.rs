//! Frames of an HTTP/2 upstream that were on their way when the proxy reset their streams.

use http::StatusCode;
use tokio::sync::watch;
use wsplice::{Pool, Upstream, connect::HttpVersion};

use crate::support::{
    deadline::within,
    frames::{self, masked, unmasked},
    h2_frame::{
        self, ACK, DATA, END_HEADERS, EXTENDED_CONNECT, HEADERS, PING, PREFACE, RST_STREAM,
        ReceivedFrame, SETTINGS, STATUS_200, frame,
    },
    raw::RawClient,
    tunnels::ProxyServer,
    upstream::{RawConn, RawUpstream},
};

/// Tunnels that are reset together, beside one that lasts: as many as a connection takes by default.
const TOGETHER: usize = 99;

/// How often that happens.
const ROUNDS: usize = 3;

/// Frames of each stream that come after its reset.
const LATE: usize = 12;

#[tokio::test]
async fn frames_that_came_after_resets_end_no_connection_with_other_tunnels() {
    let resets = watch::Sender::new(0);
    let counted = resets.clone();
    let upstream = RawUpstream::start(move |connection| speak(connection, counted.clone())).await;
    let shared = Upstream::new(&upstream.url()).unwrap();
    let pool = Pool::from_upstreams([shared.http_version(HttpVersion::Http2)]);
    let proxy = ProxyServer::over(pool, |layer| layer).await;
    let mut lasting = RawClient::open(proxy.addr(), "/ws/lasting").await;
    for round in 1..=ROUNDS {
        let mut clients = Vec::new();
        for _ in 0..TOGETHER {
            let mut client = RawClient::connect(proxy.addr()).await;
            let head = client.handshake("/ws/short", &[]).await;
            assert_eq!(head.status(), StatusCode::SWITCHING_PROTOCOLS, "{round}");
            clients.push(client);
        }
        clients.into_iter().for_each(RawClient::reset);
        let mut seen = resets.subscribe();
        let all = seen.wait_for(|seen| *seen == TOGETHER * round);
        within(format!("resets of all streams, {round}"), all)
            .await
            .unwrap();
        // Behind all late frames of the round.
        let answer = unmasked(frames::text("hi"));
        let question = masked(frames::text("hi"));
        let received = lasting.exchange(&question, answer.len()).await;
        assert_eq!(received, answer, "{round}");
    }
    assert_eq!(upstream.log().accepted, 1);
}

/// Speaks HTTP/2: accepts all streams, answers data on the first and close frames on the others, and
/// sends frames for each stream after it was reset.
async fn speak(mut connection: RawConn, resets: watch::Sender<usize>) {
    connection.read_exact(PREFACE.len()).await;
    let mut reply = frame(SETTINGS, 0, 0, &EXTENDED_CONNECT);
    loop {
        if connection.try_send(&reply).await.is_err() {
            return;
        }
        reply.clear();
        let ReceivedFrame {
            kind,
            flags,
            stream,
            payload,
        } = h2_frame::read(&mut connection).await;
        let is_ack = flags & ACK != 0;
        match kind {
            SETTINGS if !is_ack => reply = frame(SETTINGS, ACK, 0, &[]),
            PING if !is_ack => reply = frame(PING, ACK, 0, &payload),
            HEADERS => reply = frame(HEADERS, END_HEADERS, stream, &STATUS_200),
            DATA if stream == 1 => {
                reply = frame(DATA, 0, stream, &unmasked(frames::text("hi")));
            }
            DATA if payload.first() == Some(&0x88) => {
                reply = frame(DATA, 0, stream, &[0x88, 2, 0x03, 0xE8]);
            }
            RST_STREAM => {
                let late = frame(DATA, 0, stream, &unmasked(frames::text("late")));
                reply = late.repeat(LATE);
                resets.send_modify(|count| *count += 1);
            }
            _ => {}
        }
    }
}
