//! Streams that a server other than hyper hands over: the seam for HTTP/3 (RFC 9220), in memory.

use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode, Version};
use tokio::{
    io::{DuplexStream, duplex},
    sync::oneshot,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use tower::{Layer, ServiceExt, service_fn};
use wsplice::{
    ErrorKind, Pool, ProxyLayer, accept::ClientStream, connect::Transport, head::ExtendedConnect,
    matcher::path,
};

use crate::support::{axum_upstream, deadline::within};

type Stream = oneshot::Sender<DuplexStream>;

/// An extended `CONNECT` over HTTP/3, and the sender of its stream.
fn connect(protocol: &'static str, path: &str) -> (Request<String>, Stream) {
    let (sender, stream) = oneshot::channel();
    let stream = async {
        stream
            .await
            .map(Transport::new)
            .map_err(std::io::Error::other)
    };
    let request = Request::connect(format!("https://example.com{path}"))
        .version(Version::HTTP_3)
        .header("sec-websocket-version", "13")
        .extension(ExtendedConnect::new(protocol))
        .extension(ClientStream::from_future(stream))
        .body(String::new())
        .unwrap();
    (request, sender)
}

async fn layer() -> ProxyLayer {
    let upstream = axum_upstream::start().await;
    let url = upstream.url();
    // The upstream serves until the test is over.
    std::mem::forget(upstream);
    ProxyLayer::new(Pool::new([url]).unwrap()).matching(path("/ws/*"))
}

/// Sends a handshake, which is accepted: the head of the response, and the sender of the stream.
async fn accepted(layer: ProxyLayer) -> (http::response::Parts, Stream) {
    let (request, stream) = connect("websocket", "/ws/echo");
    let response = within("a response", layer.into_service().oneshot(request))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    (response.into_parts().0, stream)
}

#[tokio::test]
async fn a_stream_of_http3_becomes_a_tunnel_rfc9220() {
    let layer = layer().await;
    let registry = layer.registry();
    let (response, stream) = accepted(layer).await;
    assert!(response.headers.get("sec-websocket-accept").is_none());
    assert!(response.headers.get("upgrade").is_none());

    let (near, far) = duplex(1024);
    stream.send(far).unwrap();
    let mut socket = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    socket.send(Message::text("over HTTP/3")).await.unwrap();
    let echo = within("a message", socket.next()).await.unwrap().unwrap();
    assert_eq!(echo, Message::text("over HTTP/3"));
    assert_eq!(registry.count(), 1);
    socket.close(None).await.unwrap();
    while within("a message", socket.next()).await.is_some() {}
}

#[tokio::test]
async fn a_host_that_gives_up_the_stream_has_lost_the_client() {
    let layer = layer().await;
    let registry = layer.registry();
    let (_response, stream) = accepted(layer).await;
    drop(stream);
    within("the end of the tunnel", async {
        while registry.count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_connect_without_a_stream_is_not_upgradable() {
    let (mut request, _stream) = connect("websocket", "/ws/echo");
    request.extensions_mut().remove::<ClientStream>();
    let service = layer().await.into_service();
    let response = within("a response", service.oneshot(request))
        .await
        .unwrap();
    let error = response.extensions().get::<wsplice::Error>();
    assert_eq!(
        error.map(wsplice::Error::kind),
        Some(ErrorKind::NotUpgradable)
    );
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn another_protocol_reaches_the_inner_service_or_gets_501_rfc9220_3() {
    let layer = layer().await.forward_http(wsplice::ForwardHttp::new());
    let inner = service_fn(async |request: Request<String>| {
        let protocol = request.extensions().get::<ExtendedConnect>();
        let protocol = protocol.map(|it| it.protocol().to_owned());
        Ok::<_, std::convert::Infallible>(Response::new(protocol.unwrap_or_default()))
    });
    let (request, _stream) = connect("connect-udp", "/ws/echo");
    let response = within("a response", layer.clone().layer(inner).oneshot(request))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);

    let (request, _stream) = connect("connect-udp", "/ws/echo");
    let response = within("a response", layer.into_service().oneshot(request))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
}
