use super::*;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// A gateway on ports of its own, as the arguments say, in front of the demo.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) secured: Option<SocketAddr>,
    pub(crate) edge: Option<Arc<Edge>>,
    pub(crate) stop: mpsc::Sender<()>,
    pub(crate) ended: JoinHandle<io::Result<Stopped>>,
    _demo: DemoUpstream,
}

impl Running {
    pub(crate) async fn start(args: &[&str]) -> Self {
        let own = ["gateway", "--listen=127.0.0.1:0"];
        let args = Args::parse_from(own.iter().chain(args));
        let demo = DemoUpstream::start().await.unwrap();
        let mut upstreams = args.upstream.clone();
        upstreams.push(Upstream::new(&format!("ws://{}", demo.addr())).unwrap());
        let opened = bind::open(&args).unwrap();
        let (app, drain) = app(&args, &upstreams, proxy::pool(&args, &upstreams)).unwrap();
        let (stop, stops) = mpsc::channel(1);
        let ended = tokio::spawn(serve::serve(
            opened.threads,
            app,
            drain,
            args.drain_timeout,
            stops,
        ));
        Self {
            addr: opened.plain,
            secured: opened.secured,
            edge: opened.edge,
            stop,
            ended,
            _demo: demo,
        }
    }

    pub(crate) async fn open(
        &self,
        path: &str,
    ) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let url = format!("ws://{}{path}", self.addr);
        client_async(url, stream).await.map(|(socket, _)| socket)
    }

    /// The whole answer to a plain request.
    pub(crate) async fn ask(&self, target: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

/// An address where nothing listens.
async fn nowhere() -> SocketAddr {
    // An address of its own, where that can be had, or another test might take the port.
    let listener = match TcpListener::bind("127.0.0.77:0").await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind("127.0.0.1:0").await.unwrap(),
    };
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn sockets_go_to_the_upstream_and_pages_come_from_the_site() {
    let gateway = Running::start(&[]).await;
    let mut socket = gateway.open("/ws/echo").await.unwrap();
    socket.send("hello".into()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), "hello".into());
    assert!(gateway.ask("/").await.starts_with("HTTP/1.1 200 "));
    assert!(gateway.secured.is_none() && gateway.edge.is_none());
}

#[tokio::test]
async fn a_plain_request_under_a_route_is_the_sites() {
    let gateway = Running::start(&["--static=src", "--route=/*"]).await;
    let page = gateway.ask("/page.html").await;
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    let missing = gateway.ask("/ws/echo").await;
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
}

#[tokio::test]
async fn a_plain_request_under_a_route_is_the_upstream_s_if_asked_for() {
    let gateway = Running::start(&["--forward-http"]).await;
    // The demo's answer to who asks for a socket without shaking hands.
    let answer = gateway.ask("/ws/echo").await;
    assert!(answer.contains("did not include 'upgrade'"), "{answer}");
    assert!(gateway.ask("/").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_socket_beside_the_routes_is_not_proxied() {
    let gateway = Running::start(&["--route=/chat/*"]).await;
    let error = gateway.open("/ws/echo").await.unwrap_err();
    assert!(matches!(error, tungstenite::Error::Http(answer) if answer.status() == 404));
}

#[tokio::test]
async fn a_dead_upstream_is_passed_over() {
    let dead = format!("--upstream=ws://{}", nowhere().await);
    let gateway = Running::start(&[&dead, &dead]).await;
    for _ in 0..4 {
        gateway.open("/ws/echo").await.unwrap();
    }
}

#[tokio::test]
async fn a_full_upstream_takes_no_more() {
    let gateway = Running::start(&["--max-tunnels=1"]).await;
    let _first = gateway.open("/ws/echo").await.unwrap();
    let error = gateway.open("/ws/echo").await.unwrap_err();
    assert!(matches!(error, tungstenite::Error::Http(answer) if answer.status() == 503));
}

#[tokio::test]
async fn the_first_upstream_is_preferred_if_so_desired() {
    let first = DemoUpstream::start().await.unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Running::start(&[
        "--balance=first",
        "--handshake-timeout=1s",
        &format!("--upstream=ws://{}", first.addr()),
        &format!("--upstream=ws://{}", silent.local_addr().unwrap()),
    ])
    .await;
    for _ in 0..8 {
        gateway.open("/ws/echo").await.unwrap();
    }
}

#[tokio::test]
async fn an_upstream_that_fails_its_probe_gets_no_one() {
    let gateway = Running::start(&["--probe=ws:/no/such/socket", "--probe-interval=10ms"]).await;
    // 101 until the probe has failed often enough.
    loop {
        match gateway.open("/ws/echo").await {
            Ok(_) => {}
            Err(tungstenite::Error::Http(answer)) => {
                assert_eq!(answer.status(), 503);
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn sticky_clients_get_a_cookie() {
    let gateway = Running::start(&["--sticky=upstream"]).await;
    let stream = TcpStream::connect(gateway.addr).await.unwrap();
    let url = format!("ws://{}/ws/echo", gateway.addr);
    let (_socket, answer) = client_async(url, stream).await.unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("upstream="), "{cookie}");
}

#[tokio::test]
async fn stopping_closes_with_1001_and_takes_no_more() {
    let gateway = Running::start(&["--drain-spread=0s"]).await;
    let mut socket = gateway.open("/ws/echo").await.unwrap();
    gateway.stop.send(()).await.unwrap();
    match socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
    while socket.next().await.is_some() {}
    assert_eq!(gateway.ended.await.unwrap().unwrap(), Stopped::InOrder);
    assert!(TcpStream::connect(gateway.addr).await.is_err());
}

#[tokio::test]
async fn the_drain_timeout_cuts_off_who_does_not_answer() {
    let gateway = Running::start(&["--drain-timeout=50ms"]).await;
    let _silent = gateway.open("/ws/echo").await.unwrap();
    let mut _unfinished = TcpStream::connect(gateway.addr).await.unwrap();
    _unfinished.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    gateway.stop.send(()).await.unwrap();
    assert_eq!(gateway.ended.await.unwrap().unwrap(), Stopped::InOrder);
}

#[tokio::test]
async fn a_second_stop_waits_for_nobody() {
    let gateway = Running::start(&["--drain-spread=1h", "--drain-timeout=3h"]).await;
    let _silent = gateway.open("/ws/echo").await.unwrap();
    gateway.stop.send(()).await.unwrap();
    gateway.stop.send(()).await.unwrap();
    assert_eq!(gateway.ended.await.unwrap().unwrap(), Stopped::AtOnce);
}

#[tokio::test]
async fn a_message_that_is_too_large_closes_with_1009() {
    let gateway = Running::start(&["--max-message=1k"]).await;
    let mut socket = gateway.open("/ws/echo").await.unwrap();
    socket.send(vec![0; 1025].into()).await.unwrap();
    match socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Size),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn quiet_clients_are_pinged() {
    let gateway = Running::start(&["--keep-alive=10ms"]).await;
    let mut socket = gateway.open("/ws/echo").await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Message::Ping(_)))));
}

#[test]
fn any_address_is_shown_as_one_that_can_be_opened() {
    for (listened, shown) in [
        ("0.0.0.0:3000", "127.0.0.1:3000"),
        ("[::]:3000", "[::1]:3000"),
        ("10.0.0.1:80", "10.0.0.1:80"),
    ] {
        assert_eq!(reachable(listened.parse().unwrap()).to_string(), shown);
    }
}

#[tokio::test]
async fn all_threads_serve_and_all_are_drained() {
    for threads in ["--threads=1", "--threads=3"] {
        let gateway = Running::start(&["--drain-spread=0s", threads]).await;
        let mut sockets = Vec::new();
        for _ in 0..30 {
            sockets.push(gateway.open("/ws/echo").await.unwrap());
        }
        gateway.stop.send(()).await.unwrap();
        for mut socket in sockets {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Away),
                other => panic!("{other:?}"),
            }
            while socket.next().await.is_some() {}
        }
        assert_eq!(gateway.ended.await.unwrap().unwrap(), Stopped::InOrder);
        assert!(TcpStream::connect(gateway.addr).await.is_err());
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = held.local_addr().unwrap();
    for threads in ["--threads=1", "--threads=2"] {
        let listen = format!("--listen={addr}");
        let args = Args::parse_from(["gateway", threads, &listen]);
        let error = bind::open(&args).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot listen on {addr}: ")),
            "{error}"
        );
    }
}
