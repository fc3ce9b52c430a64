//! A client that leaves before the response to its handshake takes the dial with it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use wsplice::connect::Transport;
use wsplice::connect::{Address, Connect, ConnectFuture};

use super::kit::{Host, Proxied, expect_page, pool, text};
use crate::support::deadline::within;
use crate::support::raw::handshake_request;
use crate::support::scripts;
use crate::support::upstream::RawUpstream;

/// Short enough to wait for, long enough to fire only where nothing arrives.
const SHORT: Duration = Duration::from_millis(50);

/// Connects to port 9 never, and to all else as usual.
#[derive(Clone, Debug, Default)]
struct Never {
    dials: Arc<watch::Sender<Dials>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Dials {
    begun: usize,
    dropped: usize,
}

impl Never {
    async fn wait_for(&self, begun: usize, dropped: usize) {
        let expected = Dials { begun, dropped };
        let mut dials = self.dials.subscribe();
        let seen = dials.wait_for(|dials| *dials == expected);
        let what = format!("{expected:?}");
        within(what, seen).await.expect("the dials live");
    }
}

/// Guard that reports the drop of the future that holds it.
struct DropGuard(Arc<watch::Sender<Dials>>);

impl Drop for DropGuard {
    fn drop(&mut self) {
        self.0.send_modify(|dials| dials.dropped += 1);
    }
}

impl Connect for Never {
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a> {
        Box::pin(async move {
            if let Address::Tcp { host, port, .. } = address {
                if *port != 9 {
                    return Ok(TcpStream::connect((host.as_str(), *port)).await?.into());
                }
            }
            let _guard = DropGuard(Arc::clone(&self.dials));
            self.dials.send_modify(|dials| dials.begun += 1);
            std::future::pending::<io::Result<Transport>>().await
        })
    }
}

fn nowhere() -> String {
    "ws://127.0.0.1:9".to_owned()
}

#[tokio::test]
async fn a_client_that_leaves_while_the_upstream_is_dialled_cancels_the_dial() {
    for host in Host::ALL {
        let never = Never::default();
        let connector = never.clone();
        let proxied = Proxied::start(host, pool([nowhere()]), |layer| {
            layer
                .connector(connector)
                .connect_timeout(Duration::from_secs(3600))
        })
        .await;
        for count in 1..=3 {
            let mut client = proxied.connect().await;
            let handshake = handshake_request("/ws/x", &[]);
            client.send(&handshake).await;
            never.wait_for(count, count - 1).await;
            match count {
                1 => drop(client),
                2 => client.reset(),
                _ => client.fin().await,
            }
            never.wait_for(count, count).await;
        }
        proxied.expect_idle().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_the_answer_is_awaited_closes_the_upstream() {
    for host in Host::ALL {
        let upstream = RawUpstream::start(scripts::silence()).await;
        let proxied = Proxied::on(host, &upstream).await;
        for count in 1..=2 {
            let mut client = proxied.connect().await;
            let handshake = handshake_request("/ws/x", &[]);
            client.send(&handshake).await;
            upstream
                .wait_for("the request", |log| log.heads.len() == count)
                .await;
            match count {
                1 => drop(client),
                _ => client.reset(),
            }
            upstream
                .wait_for("the end of its connection", |log| log.ended == count)
                .await;
        }
        proxied.expect_idle().await;
    }
}

#[tokio::test]
async fn a_dial_that_takes_too_long_gets_504() {
    let never = Never::default();
    let connector = never.clone();
    let proxied = Proxied::start(Host::Axum, pool([nowhere()]), |layer| {
        layer.connector(connector).connect_timeout(SHORT)
    })
    .await;
    let (mut client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 504);
    let body = text(&mut client, &head).await;
    assert_eq!(body, "connecting to the upstream timed out\n");
    never.wait_for(1, 1).await;
    proxied
        .expect_events(&["failed /ws/x ConnectTimeout 127.0.0.1:9"])
        .await;
    expect_page(&mut client).await;
    proxied.expect_idle().await;
}

#[tokio::test]
async fn a_dial_that_takes_too_long_gives_way_to_the_next_upstream() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let connector = Never::default();
    let both = pool([nowhere(), upstream.url()]);
    let proxied = Proxied::start(Host::Axum, both, |layer| {
        layer.connector(connector).connect_timeout(SHORT)
    })
    .await;
    let mut client = proxied.open("/ws/x").await;
    client.send(b"bytes").await;
    assert_eq!(&client.read_exact(5).await[..], b"bytes");
    let accepted = format!("accepted /ws/x {}", upstream.addr());
    proxied
        .expect_events(&[
            "failed /ws/x ConnectTimeout 127.0.0.1:9",
            &accepted,
            "opened /ws/x",
        ])
        .await;
}

#[tokio::test]
async fn an_upstream_whose_queue_is_full_gets_504() {
    let listener = crowded_listener().await;
    let url = format!("ws://{}", listener.addr);
    let proxied = Proxied::start(Host::Axum, pool([url]), |layer| {
        layer.connect_timeout(SHORT)
    })
    .await;
    let (_client, head) = proxied.handshake("/ws/x", &[]).await;
    assert_eq!(head.status(), 504);
    proxied.expect_idle().await;
}

/// A listener that takes no more connections, with those that fill its queue.
struct Crowded {
    addr: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

async fn crowded_listener() -> Crowded {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(SHORT * 4, TcpStream::connect(addr)).await {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 1000, "the queue has no end");
    }
    Crowded {
        addr,
        _listener: listener,
        _waiting: waiting,
    }
}
