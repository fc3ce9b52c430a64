//! Connections to upstreams over HTTP/2 that tunnels share: their number, their ends, and the
//! effect on their tunnels.

use std::{io, time::Duration};

use h2::Reason;
use wsplice::{
    Pool, Upstream,
    connect::{Http2Connections, HttpVersion},
    tunnel::{Side, TunnelEnd},
};

use crate::support::{
    frames::{self, masked, read_frame, unmasked},
    h2_frame::{
        self, END_HEADERS, EXTENDED_CONNECT, GOAWAY, HEADERS, PING, PREFACE, SETTINGS, STATUS_200,
        frame,
    },
    h2_upstream::{H2Upstream, StreamEnd, extended},
    raw::RawClient,
    rng,
    tunnels::ProxyServer,
    upstream::{RawConn, RawUpstream},
};

async fn proxy(upstream: &H2Upstream) -> ProxyServer {
    gate_with(upstream, Http2Connections::new()).await
}

async fn gate_with(upstream: &H2Upstream, connections: Http2Connections) -> ProxyServer {
    let pool = Pool::from_upstreams([upstream.upstream()]);
    ProxyServer::over(pool, |layer| layer.http2_connections(connections)).await
}

/// Both ends of a tunnel, and the connection that it is on.
struct Ends {
    client: RawClient,
    end: StreamEnd,
    connection: usize,
}

impl Ends {
    async fn open(proxy: &ProxyServer, upstream: &mut H2Upstream) -> Self {
        let mut client = RawClient::connect(proxy.addr()).await;
        let (head, (connection, end)) = tokio::join!(client.handshake("/ws/room", &[]), async {
            let asked = upstream.next().await;
            (asked.connection, asked.accept(&[]))
        });
        assert_eq!(head.status(), 101);
        Self {
            client,
            end,
            connection,
        }
    }

    /// Passes a message in both directions.
    async fn pass(&mut self) {
        let question = masked(frames::text("still there?"));
        self.client.send(&question).await;
        assert_eq!(self.end.read_exact(question.len()).await, question);
        let answer = unmasked(frames::text("yes"));
        self.end.send(&answer).await;
        assert_eq!(self.client.read_exact(answer.len()).await, answer);
    }

    /// Ends it in order.
    async fn close(mut self) {
        let close = masked(frames::close(1000, ""));
        self.client.send(&close).await;
        self.end.read_exact(close.len()).await;
        let answer = unmasked(frames::close(1000, ""));
        self.end.send(&answer).await;
        self.end.finish();
        assert_eq!(self.client.read_exact(answer.len()).await, answer);
        self.client.expect_eof().await;
    }
}

#[tokio::test]
async fn many_tunnels_that_begin_at_once_share_one_connection() {
    let mut upstream = H2Upstream::start().await;
    let proxy = proxy(&upstream).await;
    let addr = proxy.addr();
    let clients: Vec<_> = (0..50)
        .map(|_| tokio::spawn(async move { RawClient::open(addr, "/ws/room").await }))
        .collect();
    let mut ends = Vec::new();
    for _ in 0..50 {
        ends.push(upstream.next().await.accept(&[]));
    }
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(upstream.log().accepted, 1);
}

#[tokio::test]
async fn a_full_connection_gets_a_companion_rfc9113_5_1_2() {
    let mut builder = extended();
    builder.max_concurrent_streams(2);
    let mut strict = H2Upstream::with(builder).await;
    let mut generous = H2Upstream::start().await;
    let two = Http2Connections::new().max_streams(2);
    for (upstream, connections) in [(&mut strict, Http2Connections::new()), (&mut generous, two)] {
        let proxy = gate_with(upstream, connections).await;
        let mut tunnels = Vec::new();
        for expected in [0, 0, 1, 1, 2] {
            let tunnel = Ends::open(&proxy, upstream).await;
            assert_eq!(tunnel.connection, expected);
            tunnels.push(tunnel);
        }
        // Room that becomes free is used again, from the first connection on.
        tunnels.remove(1).close().await;
        proxy
            .wait_for("the end of one", |events| events.closed.len() == 1)
            .await;
        assert_eq!(Ends::open(&proxy, upstream).await.connection, 0);
        for tunnel in &mut tunnels {
            tunnel.pass().await;
        }
        assert_eq!(upstream.log().accepted, 3);
    }
}

#[tokio::test]
async fn a_goaway_drains_the_connection_rfc9113_6_8() {
    let mut upstream = H2Upstream::start().await;
    let proxy = proxy(&upstream).await;
    let mut old = Ends::open(&proxy, &mut upstream).await;
    upstream.go_away(0).await;
    // Bytes that follow on the connection prove that the frame has been read.
    old.pass().await;
    let mut new = Ends::open(&proxy, &mut upstream).await;
    assert_eq!((old.connection, new.connection), (0, 1));
    for _ in 0..3 {
        old.pass().await;
        new.pass().await;
    }
    old.close().await;
    upstream
        .wait_for("the end of the old connection", |log| log.ended == 1)
        .await;
    new.pass().await;
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_lost_upstream_for_each_of_its_tunnels() {
    let mut upstream = H2Upstream::start().await;
    let proxy = gate_with(&upstream, Http2Connections::new().max_streams(3)).await;
    let mut tunnels = Vec::new();
    for _ in 0..4 {
        tunnels.push(Ends::open(&proxy, &mut upstream).await);
    }
    upstream.break_off(0);
    for tunnel in &mut tunnels[..3] {
        let (code, _) = read_frame(&mut tunnel.client).await.close().unwrap();
        assert_eq!(code, 1011);
    }
    let mut survivor = tunnels.remove(3);
    drop(tunnels);
    let events = proxy
        .wait_for("three ends", |events| events.closed.len() == 3)
        .await;
    for (_, report) in &events.closed {
        let lost = matches!(report.end, TunnelEnd::Broken(Side::Upstream, _));
        assert!(lost, "{report:?}");
        assert_eq!(report.initiator, Side::Upstream);
    }
    survivor.pass().await;
    assert_eq!(survivor.connection, 1);
    assert_eq!(Ends::open(&proxy, &mut upstream).await.connection, 1);
}

#[tokio::test]
async fn a_refused_stream_is_tried_on_another_connection_rfc9113_8_7() {
    let mut upstream = H2Upstream::start().await;
    let proxy = proxy(&upstream).await;
    let mut client = RawClient::connect(proxy.addr()).await;
    let (head, numbers) = tokio::join!(client.handshake("/ws/room", &[]), async {
        let refused = upstream.next().await;
        let first = refused.connection;
        refused.reset(Reason::REFUSED_STREAM);
        let asked = upstream.next().await;
        let second = asked.connection;
        asked.accept(&[]);
        (first, second)
    });
    assert_eq!(head.status(), 101);
    assert_eq!(numbers, (0, 1));
    assert!(proxy.events().rejected.is_empty());
}

#[tokio::test]
async fn an_upstream_that_refuses_every_stream_is_asked_three_times() {
    let mut upstream = H2Upstream::start().await;
    let proxy = proxy(&upstream).await;
    let mut client = RawClient::connect(proxy.addr()).await;
    let (head, ()) = tokio::join!(client.handshake("/ws/room", &[]), async {
        for _ in 0..3 {
            upstream.next().await.reset(Reason::REFUSED_STREAM);
        }
    });
    assert_eq!(head.status(), 502);
    assert_eq!(upstream.log().accepted, 3);
}

#[tokio::test]
async fn any_other_reset_is_not_tried_again() {
    let mut upstream = H2Upstream::start().await;
    let proxy = proxy(&upstream).await;
    let mut client = RawClient::connect(proxy.addr()).await;
    let (head, ()) = tokio::join!(client.handshake("/ws/room", &[]), async {
        upstream.next().await.reset(Reason::INTERNAL_ERROR);
    });
    assert_eq!(head.status(), 502);
    let mut tunnel = Ends::open(&proxy, &mut upstream).await;
    tunnel.pass().await;
    assert_eq!(upstream.log().accepted, 1);
}

/// Reads the preface, allows extended CONNECT, and reads up to the first request.
async fn first_request(conn: &mut RawConn) {
    conn.read_exact(PREFACE.len()).await;
    conn.send(&frame(SETTINGS, 0, 0, &EXTENDED_CONNECT)).await;
    while h2_frame::read(conn).await.kind != HEADERS {}
}

#[tokio::test]
async fn a_stream_behind_the_last_of_a_goaway_is_tried_on_another_connection_rfc9113_6_8() {
    let (number, mut numbers) = tokio::sync::mpsc::unbounded_channel();
    for n in 0..2 {
        number.send(n).unwrap();
    }
    let numbers = std::sync::Arc::new(std::sync::Mutex::new(move || numbers.try_recv().unwrap()));
    let upstream = RawUpstream::start(move |mut conn| {
        let number = numbers.lock().unwrap()();
        async move {
            first_request(&mut conn).await;
            match number {
                // GOAWAY: no stream at all was processed.
                0 => conn.send(&frame(GOAWAY, 0, 0, &[0; 8])).await,
                _ => {
                    conn.send(&frame(HEADERS, END_HEADERS, 1, &STATUS_200))
                        .await;
                }
            }
            while conn
                .try_read_some()
                .await
                .is_ok_and(|some| !some.is_empty())
            {}
        }
    })
    .await;
    let http2 = Upstream::new(&upstream.url())
        .unwrap()
        .http_version(HttpVersion::Http2);
    let proxy = ProxyServer::over(Pool::from_upstreams([http2]), |layer| layer).await;
    RawClient::open(proxy.addr(), "/ws/room").await;
    assert_eq!(upstream.log().accepted, 2);
}

#[tokio::test]
async fn a_connection_that_answers_no_ping_is_dead_rfc9113_6_7() {
    let upstream = RawUpstream::start(|mut conn| async move {
        first_request(&mut conn).await;
        conn.send(&frame(HEADERS, END_HEADERS, 1, &STATUS_200))
            .await;
        while h2_frame::read(&mut conn).await.kind != PING {}
        // The PING goes unanswered, but the frames behind it are read.
        while conn
            .try_read_some()
            .await
            .is_ok_and(|some| !some.is_empty())
        {}
    })
    .await;
    let http2 = Upstream::new(&upstream.url())
        .unwrap()
        .http_version(HttpVersion::Http2);
    let pings = Http2Connections::new()
        .ping_interval(Duration::from_millis(30))
        .ping_timeout(Duration::from_millis(30));
    let proxy = ProxyServer::over(Pool::from_upstreams([http2]), |layer| {
        layer.http2_connections(pings)
    })
    .await;
    let mut client = RawClient::open(proxy.addr(), "/ws/room").await;
    let (code, _) = read_frame(&mut client).await.close().unwrap();
    assert_eq!(code, 1011);
    drop(client);
    let report = proxy.report().await;
    let broken = TunnelEnd::Broken(Side::Upstream, io::ErrorKind::BrokenPipe);
    assert_eq!(report.end, broken);
    upstream
        .wait_for("the end of the connection", |log| log.ended == 1)
        .await;
}

#[tokio::test]
async fn one_that_answers_lives_on() {
    let mut upstream = H2Upstream::start().await;
    let pings = Http2Connections::new()
        .ping_interval(Duration::from_millis(1))
        .idle_timeout(Duration::from_millis(1));
    let proxy = gate_with(&upstream, pings).await;
    let mut tunnel = Ends::open(&proxy, &mut upstream).await;
    for _ in 0..100 {
        tunnel.pass().await;
    }
    assert_eq!((upstream.log().accepted, upstream.log().ended), (1, 0));
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_a_while() {
    let mut upstream = H2Upstream::start().await;
    let soon = Http2Connections::new().idle_timeout(Duration::from_millis(20));
    let proxy = gate_with(&upstream, soon).await;
    Ends::open(&proxy, &mut upstream).await.close().await;
    upstream
        .wait_for("the end of the connection", |log| log.ended == 1)
        .await;
    assert_eq!(Ends::open(&proxy, &mut upstream).await.connection, 1);
}

#[tokio::test]
async fn a_connection_ends_with_its_layer_and_its_last_tunnel() {
    let mut upstream = H2Upstream::start().await;
    let proxy = proxy(&upstream).await;
    let mut tunnel = Ends::open(&proxy, &mut upstream).await;
    drop(proxy);
    tunnel.pass().await;
    tunnel.close().await;
    upstream
        .wait_for("the end of the connection", |log| log.ended == 1)
        .await;
}

#[tokio::test]
async fn a_client_that_leaves_during_its_handshake_takes_its_stream_alone() {
    let mut upstream = H2Upstream::start().await;
    let proxy = proxy(&upstream).await;
    let mut tunnel = Ends::open(&proxy, &mut upstream).await;
    let mut client = RawClient::connect(proxy.addr()).await;
    client
        .send(&crate::support::raw::handshake_request("/ws/room", &[]))
        .await;
    let left = upstream.next().await;
    client.reset();
    assert_eq!(left.accept(&[]).expect_reset().await, Reason::CANCEL);
    tunnel.pass().await;
    assert_eq!(upstream.log().accepted, 1);
}

#[tokio::test]
async fn a_stalled_tunnel_does_not_stall_its_siblings() {
    // The upstream decides how much may wait there.
    let mut builder = extended();
    builder.initial_connection_window_size(16 << 20);
    let mut upstream = H2Upstream::with(builder).await;
    let proxy = proxy(&upstream).await;
    let down = unmasked(frames::binary(&rng::payload(1, 1 << 20)));
    let up = masked(frames::binary(&rng::payload(2, 1 << 20)));
    // The messages to these are not read, in either direction.
    let mut stalled = Vec::new();
    let mut floods = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let Ends {
            mut client, end, ..
        } = Ends::open(&proxy, &mut upstream).await;
        let StreamEnd {
            receiving,
            mut sending,
            ..
        } = end;
        sending.send_data(down.clone().into(), false).unwrap();
        stalled.push((receiving, sending));
        let flood = up.repeat(8);
        floods.spawn(async move { client.try_send(&flood).await });
    }
    let mut busy = Ends::open(&proxy, &mut upstream).await;
    for _ in 0..8 {
        let Ends { client, end, .. } = &mut busy;
        let (got, ()) = tokio::join!(client.read_exact(down.len()), end.send(&down));
        assert!(got == down);
        let (got, ()) = tokio::join!(end.read_exact(up.len()), client.send(&up));
        assert!(got == up);
    }
    assert_eq!(upstream.log().accepted, 1);
    assert_eq!((proxy.registry().count(), floods.len()), (21, 20));
}
