//! Tunnels of a host that does the handshakes by itself: the example, on real sockets.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tungstenite::handshake::derive_accept_key;
use wsplice::{
    Drain, ErrorKind, Registry,
    handshake::{UpstreamHandshake, UpstreamResponse},
};

use super::support::{deadline::within, raw::handshake_request};

#[allow(dead_code, unreachable_pub, clippy::print_stdout)]
#[path = "../../examples/tunnel_alone.rs"]
mod example;

/// How often the upstream's frame comes with its 101 in one write.
const ROUNDS: usize = 200;

/// An unmasked text (RFC 6455 §5.7).
const HELLO: &[u8] = b"\x81\x05Hello";

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).unwrap()
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value)
}

/// Answers each connection by the function, which gets the request's head, and then echoes.
async fn upstream(answer: fn(&str) -> Vec<u8>) -> Arc<str> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let head = read_head(&mut stream).await;
                stream.write_all(&answer(&head)).await.unwrap();
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address.into()
}

/// Agrees, and speaks first, in the same write.
fn greet(head: &str) -> Vec<u8> {
    let key = value(head, "sec-websocket-key").expect("a key");
    let accept = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    [head.as_bytes(), HELLO].concat()
}

fn refuse(_: &str) -> Vec<u8> {
    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_vec()
}

async fn example_before(upstream: Arc<str>) -> (String, Registry) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let tunnels = Registry::new();
    tokio::spawn(example::serve(listener, upstream, tunnels.clone()));
    (address, tunnels)
}

async fn open(address: &str) -> (TcpStream, String) {
    let mut client = TcpStream::connect(address).await.unwrap();
    client
        .write_all(&handshake_request("/chat", &[]))
        .await
        .unwrap();
    let head = read_head(&mut client).await;
    (client, head)
}

#[tokio::test]
async fn a_frame_right_behind_the_101_is_never_lost() {
    let (address, tunnels) = example_before(upstream(greet).await).await;
    let mut clients = Vec::new();
    for _ in 0..ROUNDS {
        let passed = async {
            let (mut client, head) = open(&address).await;
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            let mut hello = [0; 7];
            client.read_exact(&mut hello).await.unwrap();
            assert_eq!(hello, HELLO);
            client
        };
        clients.push(within("a greeting", passed).await);
    }
    assert_eq!(tunnels.count(), ROUNDS);
    assert!(
        tunnels
            .list()
            .iter()
            .all(|tunnel| &*tunnel.info.path == "/chat")
    );
    let drain = Drain::new(&tunnels);
    let drained = tokio::spawn(async move { drain.run().await });
    for mut client in clients {
        let mut close = [0; 2];
        within("a close frame", client.read_exact(&mut close))
            .await
            .unwrap();
        assert_eq!(close[0], 0x88);
        // The upstream echoes its own close; the client leaves with an empty one.
        client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    }
    let drained = within("the drain", drained).await.unwrap();
    assert_eq!(drained.closed + drained.aborted, ROUNDS);
    assert_eq!(tunnels.count(), 0);
}

#[tokio::test]
async fn a_frame_right_behind_the_handshake_is_never_lost() {
    let (address, _tunnels) = example_before(upstream(greet).await).await;
    let mut client = TcpStream::connect(&address).await.unwrap();
    // A masked text with a key of zeros (RFC 6455 §5.3).
    let frame = b"\x81\x82\0\0\0\0hi";
    let both = [&handshake_request("/chat", &[])[..], frame].concat();
    client.write_all(&both).await.unwrap();
    read_head(&mut client).await;
    let mut received = [0; HELLO.len() + 8];
    within("both frames", client.read_exact(&mut received))
        .await
        .unwrap();
    assert_eq!(received[..], [HELLO, frame].concat());
}

#[tokio::test]
async fn a_plain_request_gets_426_and_an_upstream_that_is_down_502() {
    let (address, _tunnels) = example_before("127.0.0.1:1".into()).await;
    let mut client = TcpStream::connect(&address).await.unwrap();
    let plain = b"GET /chat HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(plain).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    let (_client, head) = open(&address).await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
}

#[tokio::test]
async fn a_refusal_comes_with_its_body() {
    let (address, tunnels) = example_before(upstream(refuse).await).await;
    let (mut client, head) = open(&address).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let mut body = [0; 2];
    within("the body", client.read_exact(&mut body))
        .await
        .unwrap();
    assert_eq!((&body, tunnels.count()), (b"no", 0));
}

#[tokio::test]
async fn a_101_that_proves_nothing_is_an_error() {
    fn lie(_: &str) -> Vec<u8> {
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            .to_vec()
    }
    let address = upstream(lie).await;
    let stream = TcpStream::connect(&*address).await.unwrap();
    let request = http::Request::get(format!("ws://{address}/"))
        .body(())
        .unwrap();
    let error = UpstreamHandshake::new(request).perform(stream).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidUpgradeResponse);
}

#[tokio::test]
async fn without_a_key_one_is_made_and_verified() {
    let address = upstream(greet).await;
    let stream = TcpStream::connect(&*address).await.unwrap();
    let request = http::Request::get(format!("ws://{address}/a?b"))
        .body(())
        .unwrap();
    let response = UpstreamHandshake::new(request).perform(stream).await;
    let UpstreamResponse::Accepted(accepted) = response.unwrap() else {
        panic!("it agrees")
    };
    assert_eq!(accepted.response.status(), 101);
    assert_eq!(accepted.subprotocol, None);
}

#[tokio::test]
async fn a_request_without_a_host_is_no_handshake() {
    let address = upstream(greet).await;
    let stream = TcpStream::connect(&*address).await.unwrap();
    let request = http::Request::get("/").body(()).unwrap();
    let error = UpstreamHandshake::new(request).perform(stream).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::MalformedHandshake);
}
