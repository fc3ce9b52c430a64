use super::*;

mod connections;
mod failover;

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Gateway with these arguments on free ports, with the demo as its last upstream.
pub(crate) struct TestGateway {
    pub(crate) http: SocketAddr,
    pub(crate) https: Option<SocketAddr>,
    pub(crate) client_tls: Option<Arc<ClientTls>>,
    pub(crate) admin: SocketAddr,
    pub(crate) stop: mpsc::Sender<()>,
    pub(crate) exit: JoinHandle<io::Result<Exit>>,
    _admin: Admin,
    pub(crate) demo: Arc<DemoUpstream>,
}

impl TestGateway {
    pub(crate) async fn start(args: &[&str]) -> Self {
        let listen = format!("--listen={}:0", own_loopback());
        let first = ["wsplice-gateway", &listen];
        let args = Args::parse_from(first.iter().chain(args));
        let demo = Arc::new(DemoUpstream::start(own_loopback()).await.unwrap());
        let mut upstreams = args.upstreams.upstream.clone();
        upstreams.push(Upstream::new(&format!("ws://{}", demo.addr())).unwrap());
        let bound = bind::bind(&args.listen, Vec::new()).unwrap();
        let pool = pool::pool(&args, &upstreams);
        let proxy = proxy::layer(&args, &upstreams, pool).unwrap();
        let (views, proxy) = Views::observe(&args, proxy);
        let (app, drain) = setup::serving(&args, &proxy, Some(&demo));
        let (admin, listener) = bind::bind_admin(DEMO_ADMIN).unwrap();
        let serving_admin = Admin::start(listener, views);
        let (http, https) = (bound.tcp(Service::Plain).unwrap(), bound.tcp(Service::Tls));
        let (stop, stop_signals) = mpsc::channel(1);
        let exit = tokio::spawn(serve::serve(
            bound.workers,
            app,
            drain,
            args.shutdown.drain_timeout,
            stop_signals,
        ));
        Self {
            http,
            https,
            client_tls: bound.client_tls,
            admin,
            stop,
            exit,
            _admin: serving_admin,
            demo,
        }
    }

    pub(crate) async fn open(
        &self,
        path: &str,
    ) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
        let stream = TcpStream::connect(self.http).await.unwrap();
        let url = format!("ws://{}{path}", self.http);
        client_async(url, stream).await.map(|(socket, _)| socket)
    }

    /// Sends a plain request and returns the whole response.
    pub(crate) async fn get(&self, target: &str) -> String {
        get(self.http, target, "").await
    }
}

/// Sends a plain GET with these header lines and returns the whole response.
pub(crate) async fn get(addr: SocketAddr, target: &str, headers: &str) -> String {
    send(addr, "GET", target, headers, "").await
}

/// Sends a request with these header lines and this body, and returns the whole response.
pub(crate) async fn send(
    addr: SocketAddr,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

/// Returns a loopback address at which hardly another test listens, where the system has more than one:
/// another test might get a port that was free again.
pub(crate) fn own_loopback() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    // With some runners each test is a process.
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, high, low, NEXT.fetch_add(1, Ordering::Relaxed));
    match std::net::TcpListener::bind((own, 0)) {
        Ok(_) => own,
        Err(_) => Ipv4Addr::LOCALHOST,
    }
}

/// Returns an address where nothing listens.
async fn unused_address() -> SocketAddr {
    let listener = TcpListener::bind((own_loopback(), 0)).await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn websockets_go_to_the_upstream_and_pages_come_from_the_site() {
    let gateway = TestGateway::start(&[]).await;
    let mut socket = gateway.open("/ws/echo").await.unwrap();
    socket.send("hello".into()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), "hello".into());
    assert!(gateway.get("/").await.starts_with("HTTP/1.1 200 "));
    assert!(gateway.https.is_none() && gateway.client_tls.is_none());
}

#[cfg(unix)]
#[tokio::test]
async fn a_hangup_does_not_end_a_gateway_without_a_certificate() {
    let mut reloading = reloading(None).unwrap();
    // Without a handler this ends the process of the tests.
    let mut hang_up = std::process::Command::new("kill");
    hang_up.args(["-s", "HUP", &std::process::id().to_string()]);
    assert!(hang_up.status().unwrap().success());
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert!(reloading.try_join_next().is_none());
}

#[tokio::test]
async fn a_websocket_outlives_the_demo_upstream_that_its_page_kills_and_starts() {
    let gateway = TestGateway::start(&["--reattach=10s"]).await;
    let mut socket = gateway.open("/ws/echo").await.unwrap();
    let post = async |target| send(gateway.http, "POST", target, "x-demo: 1\r\n", "").await;
    let refused = send(gateway.http, "POST", "/demo/kill", "", "").await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert!(gateway.demo.is_running());
    for round in ["one", "two"] {
        echo(&mut socket, round).await;
        let killed = post("/demo/kill").await;
        assert!(killed.starts_with("HTTP/1.1 204 "), "{killed}");
        let shown = gateway.get("/demo").await;
        assert!(shown.contains(r#""upstream":"killed""#), "{shown}");
        let started = post("/demo/start").await;
        assert!(started.starts_with("HTTP/1.1 204 "), "{started}");
    }
    let shown = gateway.get("/demo").await;
    assert!(shown.contains(r#""upstream":"running""#), "{shown}");
    echo(&mut socket, "three").await;
}

/// Sends a text until it comes back, as it may be lost with the upstream that it was sent to.
async fn echo(socket: &mut WebSocketStream<TcpStream>, text: &str) {
    let echoed = async {
        socket.send(text.into()).await.unwrap();
        loop {
            match timeout(Duration::from_millis(500), socket.next()).await {
                Ok(message) if message.as_ref().unwrap().as_ref().unwrap() == &text.into() => {
                    return;
                }
                Ok(message) => drop(message.unwrap().unwrap()),
                Err(_) => socket.send(text.into()).await.unwrap(),
            }
        }
    };
    timeout(Duration::from_secs(10), echoed).await.unwrap();
}

#[test]
fn the_demo_implies_reattachment_and_pings_soon() {
    let args = |more: &[&str]| {
        let args = ["wsplice-gateway"].iter().chain(more);
        demo::with_defaults(Args::parse_from(args)).tunnels
    };
    let implied = args(&[]);
    assert_eq!(implied.reattach.limit(), Some(Duration::from_secs(60)));
    assert_eq!(implied.keep_alive.limit(), Some(Duration::from_secs(2)));
    let chosen = args(&["--reattach=5s", "--keep-alive=off"]);
    assert_eq!(chosen.reattach.limit(), Some(Duration::from_secs(5)));
    assert_eq!(chosen.reattach_limit, 3);
    assert_eq!(chosen.keep_alive.limit(), None);
}

#[tokio::test]
async fn plain_requests_on_a_route_go_to_the_site() {
    let gateway = TestGateway::start(&["--static=src", "--route=/*"]).await;
    let page = gateway.get("/page.html").await;
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    let missing = gateway.get("/ws/echo").await;
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
}

#[tokio::test]
async fn plain_requests_on_a_route_go_to_the_upstream_with_forward_http() {
    let gateway = TestGateway::start(&["--forward-http"]).await;
    // The demo's response to a plain request.
    let response = gateway.get("/ws/echo").await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    assert!(response.contains("Connection: upgrade"), "{response}");
    assert!(gateway.get("/").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn websockets_beside_the_routes_are_not_proxied() {
    let gateway = TestGateway::start(&["--route=/chat/*"]).await;
    let error = gateway.open("/ws/echo").await.unwrap_err();
    assert!(matches!(error, tungstenite::Error::Http(response) if response.status() == 404));
}

#[tokio::test]
async fn handshakes_fail_over_from_a_dead_upstream() {
    let dead = format!("--upstream=ws://{}", unused_address().await);
    let gateway = TestGateway::start(&[&dead, &dead]).await;
    for _ in 0..4 {
        gateway.open("/ws/echo").await.unwrap();
    }
}

#[tokio::test]
async fn a_full_upstream_gets_no_more() {
    let gateway = TestGateway::start(&["--max-tunnels=1"]).await;
    let _first = gateway.open("/ws/echo").await.unwrap();
    let error = gateway.open("/ws/echo").await.unwrap_err();
    assert!(matches!(error, tungstenite::Error::Http(response) if response.status() == 503));
}

#[tokio::test]
async fn the_policy_first_prefers_the_first_upstream() {
    let first = DemoUpstream::start(own_loopback()).await.unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = TestGateway::start(&[
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
async fn an_upstream_that_fails_its_health_check_is_used_only_for_want_of_others() {
    let gateway =
        TestGateway::start(&["--probe=ws:/no/such/socket", "--probe-interval=10ms"]).await;
    let unhealthy = async {
        while !get(gateway.admin, "/status.json", "")
            .await
            .contains("\"state\":\"unhealthy\"")
        {}
    };
    timeout(Duration::from_secs(60), unhealthy).await.unwrap();
    assert!(gateway.open("/ws/echo").await.is_ok());
}

#[tokio::test]
async fn upstreams_can_be_reached_over_http2() {
    let gateway = TestGateway::start(&["--upstream-http=2"]).await;
    for _ in 0..2 {
        let mut socket = gateway.open("/ws/echo").await.unwrap();
        socket.send("hello".into()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), "hello".into());
    }
}

#[tokio::test]
async fn sticky_clients_get_a_cookie() {
    let gateway = TestGateway::start(&["--sticky=upstream"]).await;
    let stream = TcpStream::connect(gateway.http).await.unwrap();
    let url = format!("ws://{}/ws/echo", gateway.http);
    let (_socket, response) = client_async(url, stream).await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("upstream="), "{cookie}");
}

#[tokio::test]
async fn a_stop_closes_with_1001_and_accepts_no_more() {
    let gateway = TestGateway::start(&["--drain-spread=0s"]).await;
    let mut socket = gateway.open("/ws/echo").await.unwrap();
    gateway.stop.send(()).await.unwrap();
    match socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
    while socket.next().await.is_some() {}
    assert_eq!(gateway.exit.await.unwrap().unwrap(), Exit::Drained);
    assert!(TcpStream::connect(gateway.http).await.is_err());
}

#[tokio::test]
async fn the_drain_timeout_aborts_silent_clients() {
    let gateway = TestGateway::start(&["--drain-timeout=50ms"]).await;
    let _silent = gateway.open("/ws/echo").await.unwrap();
    let mut _unfinished = TcpStream::connect(gateway.http).await.unwrap();
    _unfinished.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    gateway.stop.send(()).await.unwrap();
    assert_eq!(gateway.exit.await.unwrap().unwrap(), Exit::Drained);
}

#[tokio::test]
async fn a_second_stop_ends_at_once() {
    let gateway = TestGateway::start(&["--drain-spread=1h", "--drain-timeout=3h"]).await;
    let _silent = gateway.open("/ws/echo").await.unwrap();
    gateway.stop.send(()).await.unwrap();
    gateway.stop.send(()).await.unwrap();
    assert_eq!(gateway.exit.await.unwrap().unwrap(), Exit::Forced);
}

#[tokio::test]
async fn a_message_that_is_too_large_closes_with_1009() {
    let gateway = TestGateway::start(&["--max-message=1k"]).await;
    let mut socket = gateway.open("/ws/echo").await.unwrap();
    socket.send(vec![0; 1025].into()).await.unwrap();
    match socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Size),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn quiet_clients_are_pinged() {
    let gateway = TestGateway::start(&["--keep-alive=10ms"]).await;
    let mut socket = gateway.open("/ws/echo").await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Message::Ping(_)))));
}

#[test]
fn an_unspecified_address_is_shown_as_the_loopback_one() {
    for (bound, shown) in [
        ("0.0.0.0:3000", "127.0.0.1:3000"),
        ("[::]:3000", "[::1]:3000"),
        ("10.0.0.1:80", "10.0.0.1:80"),
    ] {
        assert_eq!(reachable(bound.parse().unwrap()).to_string(), shown);
    }
}

#[tokio::test]
async fn all_workers_serve_and_are_drained() {
    for threads in ["--threads=1", "--threads=3"] {
        let gateway = TestGateway::start(&["--drain-spread=0s", threads]).await;
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
        assert_eq!(gateway.exit.await.unwrap().unwrap(), Exit::Drained);
        assert!(TcpStream::connect(gateway.http).await.is_err());
    }
}

#[tokio::test]
async fn the_client_behind_a_load_balancer_is_the_one_that_it_reports() {
    let gateway = TestGateway::start(&["--accept-proxy-protocol=127.0.0.0/8"]).await;
    let mut stream = TcpStream::connect(gateway.http).await.unwrap();
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 80\r\n";
    stream.write_all(header).await.unwrap();
    let url = format!("ws://{}/ws/echo", gateway.http);
    let (_socket, _) = client_async(url, stream).await.unwrap();
    let status = get(gateway.admin, "/status.json", "").await;
    assert!(status.contains("192.0.2.7"), "{status}");

    // Without a header there is no response.
    let mut stream = TcpStream::connect(gateway.http).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    assert_eq!(response, b"");
}

#[tokio::test]
async fn an_upstream_that_reads_the_proxy_protocol_is_told_both_ends_of_the_clients_connection() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("--upstream=ws://{}", upstream.local_addr().unwrap());
    let args = ["--proxy-protocol=v1", "--balance=first", &at];
    let gateway = TestGateway::start(&args).await;
    let client = TcpStream::connect(gateway.http).await.unwrap();
    let (from, to) = (client.local_addr().unwrap(), gateway.http);
    let opening = tokio::spawn(client_async(format!("ws://{to}/ws/echo"), client));
    let (mut stream, _) = upstream.accept().await.unwrap();
    let expected = format!(
        "PROXY TCP4 {} {} {} {}\r\n",
        from.ip(),
        to.ip(),
        from.port(),
        to.port()
    );
    let mut line = vec![0; expected.len()];
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&line), expected);
    opening.abort();
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = held.local_addr().unwrap();
    for threads in ["--threads=1", "--threads=2"] {
        let listen = format!("--listen={addr}");
        let args = Args::parse_from(["gateway", threads, &listen]);
        let error = bind::bind(&args.listen, Vec::new())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("cannot listen on {addr}: ")),
            "{error}"
        );
    }
}
