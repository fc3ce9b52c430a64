//! Planned moves of tunnels to other upstreams, on sockets and through the layer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{
        Path,
        ws::{Message as AppMessage, WebSocket, WebSocketUpgrade},
    },
    routing::any,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{interval, sleep, timeout},
};
use wsplice::{
    Pool,
    balance::First,
    frame::CloseCode,
    pool::OnUpstreamLoss,
    tunnel::{
        Side, TunnelEnd,
        reattach::{Loss, Reattach, ReattachRefusal},
    },
};

use crate::support::{
    clients::{Client, Message, Tungstenite},
    descriptors::affordable,
    frames::{binary, close, masked, read_frame, text, unmasked},
    serve::{Server, serve_axum},
    tunnels::{AcceptingUpstream, Ends, ProxyServer},
};

/// Time limit of a test. Far above its usual time, so never the thing under test.
const DEADLINE: Duration = Duration::from_secs(120);

/// Time between two messages of a busy client.
const BETWEEN_MESSAGES: Duration = Duration::from_millis(250);

const AT_ONCE: OnUpstreamLoss = OnUpstreamLoss::Move {
    spread: Duration::ZERO,
};

fn two_upstreams(first: String, second: String) -> wsplice::pool::PoolBuilder {
    Pool::new([first, second]).unwrap().balance(First::new())
}

async fn proxy_to(pool: &Pool, reattach: Option<Reattach>) -> ProxyServer {
    let settings = |layer: wsplice::ProxyLayer| layer.reattach(reattach);
    ProxyServer::start(pool.clone(), settings, serve_axum).await
}

fn tunnels(pool: &Pool) -> Vec<usize> {
    let snapshot = pool.snapshot();
    snapshot.iter().map(|status| status.tunnels).collect()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(DEADLINE, wait).await.is_ok(), "in vain: {what}");
}

#[tokio::test]
async fn a_drained_or_removed_upstream_is_left_by_its_tunnels_which_live_on() {
    for removes in [false, true] {
        let mut first = AcceptingUpstream::start().await;
        let mut second = AcceptingUpstream::start().await;
        let pool = two_upstreams(first.url(), second.url())
            .removed_tunnels(AT_ONCE)
            .build();
        let proxy = proxy_to(&pool, Some(Reattach::new())).await;
        let mut ends = Ends::open(&proxy, &mut first).await;
        ends.pass_frame(Side::Client, text("to the first")).await;
        let name = pool.snapshot()[0].name.clone();
        match removes {
            true => assert!(pool.remove(&name)),
            false => assert!(pool.drain(&name, AT_ONCE)),
        }
        let Ends {
            mut client,
            upstream: mut old,
        } = ends;
        let left = read_frame(&mut old).await.close().unwrap();
        assert_eq!(left.0, CloseCode::GOING_AWAY.as_u16());
        let upstream = second.next().await;
        let held = masked(text("held"));
        client.send(&held).await;
        let last = unmasked(text("last"));
        old.send(&[last.clone(), unmasked(close(1001, ""))].concat())
            .await;
        assert_eq!(client.read_exact(last.len()).await, last);
        let mut ends = Ends { client, upstream };
        assert_eq!(ends.upstream.read_exact(held.len()).await, held);
        ends.pass_frame(Side::Upstream, binary(b"from the second"))
            .await;
        let counts = tunnels(&pool);
        assert_eq!(counts.last(), Some(&1), "{counts:?}");
        ends.client.reset();
        let report = proxy.report().await;
        let losses: Vec<_> = report.upstream_changes.iter().map(|it| it.loss).collect();
        assert_eq!(losses, [Loss::Moved]);
        drop(ends.upstream);
    }
}

#[tokio::test]
async fn tunnels_that_cannot_be_moved_are_closed_by_a_drain_and_left_by_a_request() {
    let mut first = AcceptingUpstream::start().await;
    let pool = Pool::new([first.url()]).unwrap().build();
    let within = Reattach::new().within(Duration::from_millis(200));
    for (reattach, refusal) in [(None, None), (Some(within), Some(ReattachRefusal::Timeout))] {
        let proxy = proxy_to(&pool, reattach).await;
        let mut ends = Ends::open(&proxy, &mut first).await;
        let tunnel = proxy.registry().move_where(|_| true, Duration::ZERO);
        assert_eq!(tunnel, 1);
        sleep(Duration::from_millis(300)).await;
        ends.pass_frame(Side::Upstream, text("still here")).await;

        let name = pool.snapshot()[0].name.clone();
        assert!(pool.drain(&name, AT_ONCE));
        let closed = (
            CloseCode::SERVICE_RESTART.as_u16(),
            "upstream draining".into(),
        );
        assert_eq!(read_frame(&mut ends.client).await.close(), Some(closed));
        drop(ends);
        let report = proxy.report().await;
        assert_eq!(report.end, TunnelEnd::Drained);
        assert_eq!(report.reattach_refusal, refusal);
        assert!(pool.resume(&name));
    }
}

#[tokio::test]
async fn a_requested_move_avoids_the_upstream_that_the_tunnel_has() {
    let mut first = AcceptingUpstream::start().await;
    let mut second = AcceptingUpstream::start().await;
    let pool = two_upstreams(first.url(), second.url()).build();
    let proxy = proxy_to(&pool, Some(Reattach::new())).await;
    let Ends {
        client,
        upstream: mut old,
    } = Ends::open(&proxy, &mut first).await;
    let on_first = pool.snapshot()[0].name.clone();
    let moved = proxy
        .registry()
        .move_where(|tunnel| *tunnel.upstream == *on_first, Duration::ZERO);
    assert_eq!(moved, 1);
    let upstream = second.next().await;
    assert!(read_frame(&mut old).await.close().is_some());
    old.reset();
    let mut ends = Ends { client, upstream };
    ends.pass_frame(Side::Client, text("to the second")).await;
    assert_eq!(tunnels(&pool), [0, 1]);
    ends.client.reset();
    assert_eq!(proxy.report().await.upstream_changes.len(), 1);
}

/// The numbered messages that upstreams received and sent, by client and connection.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<HashMap<usize, Vec<Conversation>>>>);

/// The numbers on one connection of a client.
#[derive(Clone, Debug, Default)]
struct Conversation {
    received: Vec<usize>,
    sent: usize,
}

impl Log {
    fn open(&self, client: usize) -> usize {
        let mut log = self.0.lock().unwrap();
        let conversations = log.entry(client).or_default();
        conversations.push(Conversation::default());
        conversations.len() - 1
    }

    fn note<T>(
        &self,
        client: usize,
        number: usize,
        note: impl FnOnce(&mut Conversation) -> T,
    ) -> T {
        note(&mut self.0.lock().unwrap().get_mut(&client).unwrap()[number])
    }
}

/// An upstream that numbers its messages, and sends some unasked.
async fn numbering(log: &Log) -> Server {
    let log = log.clone();
    let count = async |Path(client): Path<usize>, upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(move |socket| serve(socket, client, log))
    };
    serve_axum(Router::new().route("/ws/{client}", any(count))).await
}

async fn serve(mut socket: WebSocket, client: usize, log: Log) {
    let number = log.open(client);
    let mut unasked = interval(2 * BETWEEN_MESSAGES);
    let mut is_talking = false;
    loop {
        let received = tokio::select! {
            received = socket.recv() => received,
            _ = unasked.tick(), if is_talking => {
                send_numbered(&mut socket, client, number, &log).await;
                continue;
            }
        };
        match received {
            Some(Ok(AppMessage::Text(text))) => {
                is_talking = true;
                let numbered = text.parse().unwrap();
                log.note(client, number, |it| it.received.push(numbered));
                send_numbered(&mut socket, client, number, &log).await;
            }
            Some(Ok(_)) => {}
            _ => return,
        }
    }
}

async fn send_numbered(socket: &mut WebSocket, client: usize, number: usize, log: &Log) {
    let next = log.note(client, number, |it| it.sent);
    let message = AppMessage::Text(format!("{number} {next}").into());
    if socket.send(message).await.is_ok() {
        log.note(client, number, |it| it.sent += 1);
    }
}

/// Sends numbered messages, one for each that comes, until it is to stop; returns how many, and the
/// messages of the upstreams.
async fn converse(
    mut client: Tungstenite,
    mut stop: watch::Receiver<bool>,
) -> (usize, Vec<(usize, usize)>) {
    let (mut sent, mut received) = (0, Vec::new());
    loop {
        if *stop.borrow_and_update() {
            break;
        }
        client.send_text(&sent.to_string()).await;
        sent += 1;
        received.push(numbered(client.next().await).expect("a message"));
        sleep(BETWEEN_MESSAGES).await;
    }
    client.send_close(1000, "").await;
    while let Some(message) = numbered(client.next().await) {
        received.push(message);
    }
    (sent, received)
}

/// The connection and the number of a message.
fn numbered(message: Message) -> Option<(usize, usize)> {
    let Message::Text(text) = message else {
        assert!(
            matches!(message, Message::Close(Some((1000, _)))),
            "{message:?}"
        );
        return None;
    };
    let (connection, number) = text.split_once(' ').unwrap();
    Some((connection.parse().unwrap(), number.parse().unwrap()))
}

/// 1,000 busy tunnels are moved to another upstream, and back: every message that a client sent
/// arrives once and in order, and so does every message that an upstream sent before its close frame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_busy_tunnels_that_are_moved_lose_and_reorder_nothing() {
    // During its move a tunnel has two upstreams.
    let count = affordable(1000, 6);
    let log = Log::default();
    let (first, second) = (numbering(&log).await, numbering(&log).await);
    let pool = Pool::new([first.url(), second.url()]).unwrap().build();
    // On a busy machine a move may take long; here it counts what is lost.
    let reattach = Reattach::new().limit(0).within(DEADLINE);
    let proxy = proxy_to(&pool, Some(reattach)).await;
    let (stop, stopped) = watch::channel(false);
    let mut opened = Vec::new();
    for number in 0..count {
        opened.push(Tungstenite::connect(proxy.addr(), &format!("/ws/{number}")).await);
    }
    let mut clients = JoinSet::new();
    for (number, client) in opened.into_iter().enumerate() {
        let conversation = converse(client, stopped.clone());
        clients.spawn(async move { (number, conversation.await) });
    }
    assert_eq!(proxy.registry().count(), count);
    let on_first = tunnels(&pool)[0];
    let spread = Duration::from_secs(1);
    for index in [0, 1] {
        let name = pool.snapshot()[index].name.clone();
        assert!(pool.drain(&name, OnUpstreamLoss::Move { spread }));
        until("the drain's end", || {
            let ended = proxy.events().closed;
            assert!(ended.is_empty(), "a tunnel has ended: {:?}", ended[0]);
            tunnels(&pool)[index] == 0
        })
        .await;
        assert!(pool.resume(&name));
    }
    stop.send(true).unwrap();
    let ended = timeout(DEADLINE, clients.join_all())
        .await
        .expect("all to end");
    let log = log.0.lock().unwrap().clone();
    for (number, (sent, received)) in ended {
        let conversations = &log[&number];
        let arrived: Vec<_> = conversations
            .iter()
            .flat_map(|it| it.received.clone())
            .collect();
        assert!(
            arrived.iter().copied().eq(0..sent),
            "{number}: {arrived:?} of {sent}"
        );
        let expected = conversations.iter().enumerate();
        let expected = expected.flat_map(|(index, it)| (0..it.sent).map(move |n| (index, n)));
        assert!(
            received.iter().copied().eq(expected),
            "{number}: {received:?}"
        );
    }
    let is_over = |events: &crate::support::tunnels::Events| events.closed.len() == count;
    let events = proxy.wait_for("the reports", is_over).await;
    let changes = events
        .closed
        .iter()
        .flat_map(|(_, report)| &report.upstream_changes);
    assert!(changes.clone().all(|change| change.loss == Loss::Moved));
    assert_eq!(changes.count(), count + on_first);
}
