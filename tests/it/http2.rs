//! WebSockets over HTTP/2 from clients (RFC 8441), bridged to HTTP/1.1 upstreams.

use std::net::SocketAddr;

use axum::{Router, routing::any};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    ext::Protocol,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_tungstenite::WebSocketStream;
use tracing_subscriber::filter::LevelFilter;
use tungstenite::{Message, protocol::Role};
use wsplice::{Pool, ProxyLayer, Registry, matcher::path};

use crate::{
    logs::capture_from,
    support::{
        axum_upstream,
        deadline::within,
        raw::ACCEPT,
        scripts,
        serve::{Server, serve_axum},
        tunnels::ProxyServer,
        upstream::RawUpstream,
    },
};

/// A WebSocket on a stream.
pub(crate) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// One HTTP/2 connection.
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    _task: JoinSet<()>,
}

impl Connection {
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        Self::open_with(addr, &http2::Builder::new(TokioExecutor::new())).await
    }

    pub(crate) async fn open_with(
        addr: SocketAddr,
        builder: &http2::Builder<TokioExecutor>,
    ) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let io = TokioIo::new(stream);
        let (sender, connection) = builder.handshake(io).await.unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let _ = connection.await;
        });
        Self {
            sender,
            _task: task,
        }
    }

    pub(crate) async fn request(&mut self, request: Request<Empty<Bytes>>) -> Response<Incoming> {
        within("an answer", self.sender.send_request(request))
            .await
            .unwrap()
    }

    pub(crate) async fn websocket(&mut self, path: &str) -> Socket {
        let response = self.request(connect(path, "websocket")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers().get("sec-websocket-accept").is_none());
        let upgraded = hyper::upgrade::on(response).await.unwrap();
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await
    }
}

pub(crate) fn connect(path: &str, protocol: &'static str) -> Request<Empty<Bytes>> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri(format!("http://app.test{path}"))
        .header("sec-websocket-version", "13")
        .body(Empty::new())
        .unwrap();
    request
        .extensions_mut()
        .insert(Protocol::from_static(protocol));
    request
}

async fn proxy_to(url: String) -> (Server, Registry) {
    let proxy = ProxyLayer::new(Pool::new([url]).unwrap()).matching(path("/ws/*"));
    let registry = proxy.registry();
    let app = Router::new()
        .route("/page", any(|| async { "page" }))
        .fallback(any(|| async {
            (StatusCode::NOT_IMPLEMENTED, "the inner service")
        }));
    (serve_axum(app.layer(proxy)).await, registry)
}

pub(crate) async fn text(socket: &mut Socket) -> Message {
    use futures_util::StreamExt;
    within("a message", socket.next()).await.unwrap().unwrap()
}

pub(crate) async fn send(socket: &mut Socket, message: Message) {
    use futures_util::SinkExt;
    within("sending", socket.send(message)).await.unwrap();
}

#[tokio::test]
async fn an_extended_connect_is_bridged_to_an_http1_upstream_rfc8441_5() {
    let upstream = axum_upstream::start().await;
    let (server, _) = proxy_to(upstream.url()).await;
    let mut connection = Connection::open(server.addr()).await;
    let mut socket = connection.websocket("/ws/echo").await;
    send(&mut socket, Message::text("over h2")).await;
    assert_eq!(text(&mut socket).await, Message::text("over h2"));
    let large = Message::binary(vec![7; 1 << 20]);
    send(&mut socket, large.clone()).await;
    assert!(text(&mut socket).await == large);
}

#[tokio::test]
async fn a_handshake_that_is_accepted_over_http2_is_not_logged_as_refused() {
    let (captured, _guard) = capture_from(LevelFilter::INFO);
    let upstream = RawUpstream::start(scripts::echo()).await;
    let (server, _) = proxy_to(upstream.url()).await;
    let mut connection = Connection::open(server.addr()).await;
    let _socket = connection.websocket("/ws/a").await;
    assert_eq!(captured.messages(), ["handshake accepted"]);
    let status = ("http.response.status_code".to_owned(), "200".to_owned());
    assert!(captured.checked().contains(&status));
}

#[tokio::test]
async fn the_upstream_gets_a_proper_http1_handshake() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let (server, _) = proxy_to(upstream.url()).await;
    let mut connection = Connection::open(server.addr()).await;
    let _socket = connection.websocket("/ws/a?b=c").await;
    let head = upstream.log().heads.remove(0);
    assert_eq!((head.method(), head.target()), ("GET", "/ws/a?b=c"));
    assert_eq!(head.get("host"), Some("app.test"));
    assert_eq!(head.get("upgrade"), Some("websocket"));
    assert_eq!(head.get("sec-websocket-version"), Some("13"));
    assert_eq!(head.get("sec-websocket-key").map(str::len), Some(24));
    assert_eq!(head.get("x-forwarded-host"), Some("app.test"));
}

#[tokio::test]
async fn a_wrong_accept_is_not_believed() {
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    );
    let upstream = RawUpstream::start(scripts::fixed(answer, scripts::Then::Hold)).await;
    let (server, _) = proxy_to(upstream.url()).await;
    let mut connection = Connection::open(server.addr()).await;
    let response = connection.request(connect("/ws/x", "websocket")).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn other_protocols_and_other_paths_reach_the_inner_service() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let (server, _) = proxy_to(upstream.url()).await;
    let mut connection = Connection::open(server.addr()).await;
    for request in [
        connect("/ws/x", "connect-udp"),
        connect("/other", "websocket"),
    ] {
        let response = connection.request(request).await;
        assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
    }
    assert_eq!(upstream.log().accepted, 0);
}

#[tokio::test]
async fn a_malformed_handshake_is_refused_without_connection_headers() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let (server, _) = proxy_to(upstream.url()).await;
    let mut connection = Connection::open(server.addr()).await;
    let mut request = connect("/ws/x", "websocket");
    request
        .headers_mut()
        .insert("sec-websocket-version", "8".parse().unwrap());
    let response = connection.request(request).await;
    assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
    assert_eq!(response.headers()["sec-websocket-version"], "13");
    assert!(!response.headers().contains_key("upgrade"));
    assert_eq!(upstream.log().accepted, 0);
}

#[tokio::test]
async fn a_refusal_is_relayed_and_the_connection_goes_on() {
    let refusal = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\nX-Why: token\r\n\r\nnope";
    let upstream = RawUpstream::start(scripts::fixed(refusal, scripts::Then::Close)).await;
    let (server, _) = proxy_to(upstream.url()).await;
    let mut connection = Connection::open(server.addr()).await;
    let response = connection.request(connect("/ws/x", "websocket")).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["x-why"], "token");
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "nope"
    );
    let page = Request::get("http://app.test/page")
        .body(Empty::new())
        .unwrap();
    let response = connection.request(page).await;
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "page"
    );
}

#[tokio::test]
async fn a_stalled_stream_and_a_flooded_one_leave_the_others_alone() {
    let upstream = axum_upstream::start().await;
    let (server, registry) = proxy_to(upstream.url()).await;
    let mut connection = Connection::open(server.addr()).await;
    // The messages to this one are never read.
    let _stalled = connection.websocket("/ws/push/64/65536").await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(connection.websocket("/ws/echo").await);
    }
    assert_eq!(registry.count(), 21);
    for round in 0..50 {
        for socket in &mut sockets {
            send(socket, Message::text(format!("{round}"))).await;
        }
        for socket in &mut sockets {
            assert_eq!(text(socket).await, Message::text(format!("{round}")));
        }
    }
    // A tunnel that is dropped does not end the connection of the others.
    drop(sockets.split_off(10));
    send(&mut sockets[0], Message::text("still here")).await;
    assert_eq!(text(&mut sockets[0]).await, Message::text("still here"));
}

#[tokio::test]
async fn a_drain_closes_streams_with_a_code() {
    let upstream = axum_upstream::start().await;
    let proxy = ProxyLayer::new(Pool::new([upstream.url()]).unwrap());
    let drain = proxy.drain();
    let server = serve_axum(Router::new().layer(proxy)).await;
    let mut connection = Connection::open(server.addr()).await;
    let mut socket = connection.websocket("/ws/echo").await;
    let (drained, message) = tokio::join!(drain.run(), async {
        let message = text(&mut socket).await;
        // The client answers the close and lets the stream end.
        use futures_util::StreamExt;
        while socket.next().await.is_some() {}
        message
    });
    assert_eq!((drained.closed, drained.aborted), (1, 0));
    let Message::Close(Some(frame)) = message else {
        panic!("expected a close, got {message:?}")
    };
    assert_eq!(u16::from(frame.code), 1001);
}

/// RFC 8441 §5: a 200 would accept the handshake.
#[tokio::test]
async fn a_rejection_of_the_host_never_accepts_a_handshake() {
    let upstream = axum_upstream::start().await;
    let proxy = ProxyServer::with([upstream.url()], |layer| {
        layer.authorize(|_| async { Err::<(), _>(StatusCode::OK) })
    })
    .await;
    let mut connection = Connection::open(proxy.addr()).await;
    let response = connection.request(connect("/ws/echo", "websocket")).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

/// RFC 9113 §8.5: any 2xx to a CONNECT means that the tunnel is established.
#[tokio::test]
async fn an_upstream_s_ordinary_success_is_no_tunnel_rfc9113_8_5() {
    for refusal in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-App: 1\r\n\r\nhello",
        "HTTP/1.1 204 No Content\r\nX-App: 1\r\n\r\n",
    ] {
        let upstream = RawUpstream::start(scripts::fixed(refusal, scripts::Then::Close)).await;
        let (server, _) = proxy_to(upstream.url()).await;
        let mut connection = Connection::open(server.addr()).await;
        let response = connection.request(connect("/ws/x", "websocket")).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(response.headers()["x-app"], "1");
    }
}

#[tokio::test]
async fn the_upstream_gets_all_cookies_in_one_line_rfc9113_8_2_3() {
    let upstream = RawUpstream::start(scripts::echo()).await;
    let (server, _) = proxy_to(upstream.url()).await;
    let mut connection = Connection::open(server.addr()).await;
    let mut request = connect("/ws/x", "websocket");
    for cookie in ["a=1", "b=2; c=3", "d=4"] {
        let value = cookie.parse().unwrap();
        request.headers_mut().append("cookie", value);
    }
    let response = connection.request(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let head = upstream.log().heads.remove(0);
    let cookies: Vec<_> = head.all("cookie").collect();
    assert_eq!(cookies, ["a=1; b=2; c=3; d=4"]);
}
