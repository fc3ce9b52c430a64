//! Bounds on clients' connections, and the forms of HTTP on them.

use super::*;

#[tokio::test]
async fn clients_that_send_no_whole_head_are_cut_off() {
    let gateway = TestGateway::start(&["--header-timeout=50ms"]).await;
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0";
    for begin in ["", "GET / HTTP/1.1\r\nhost: a\r\n", "PRI * HT", preface] {
        let mut stream = TcpStream::connect(gateway.http).await.unwrap();
        stream.write_all(begin.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        // Ends when the gateway closes the connection, in order or not.
        let _ = stream.read_to_end(&mut rest).await;
    }
    // After a response the next head is bounded too. The first one must come in time.
    let gateway = TestGateway::start(&["--header-timeout=1s"]).await;
    let mut stream = TcpStream::connect(gateway.http).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_client_that_dribbles_its_head_is_cut_off() {
    let gateway = TestGateway::start(&["--header-timeout=50ms"]).await;
    let stream = TcpStream::connect(gateway.http).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let dribble = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        write.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while write.write_all(b"a: b\r\n").await.is_ok() {
            pace.tick().await;
        }
    });
    let _ = read.read_to_end(&mut Vec::new()).await;
    dribble.abort();
}

#[tokio::test]
async fn no_more_connections_are_served_at_once_than_the_limit() {
    let gateway = TestGateway::start(&["--max-connections=1", "--threads=2"]).await;
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut first = TcpStream::connect(gateway.http).await.unwrap();
    first.write_all(request).await.unwrap();
    assert!(first.read(&mut [0; 1024]).await.unwrap() > 0);
    let mut second = TcpStream::connect(gateway.http).await.unwrap();
    second.write_all(request).await.unwrap();
    let mut bytes = [0; 1024];
    let waits = tokio::time::timeout(Duration::from_millis(100), second.read(&mut bytes));
    assert!(waits.await.is_err(), "there is no room");
    drop(first);
    assert!(second.read(&mut bytes).await.unwrap() > 0);
}

/// A WebSocket holds no place once it is open: its limit is another one.
#[tokio::test]
async fn open_websockets_take_no_room_from_other_connections() {
    let gateway = TestGateway::start(&["--max-connections=1", "--threads=1"]).await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(gateway.open("/ws/echo").await.unwrap());
    }
}

/// Old devices, and hops that remove `Connection`.
#[tokio::test]
async fn handshakes_without_connection_are_accepted_if_that_is_tolerated() {
    let handshake = b"GET /ws/echo HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (args, status) in [
        (&[][..], "HTTP/1.1 400 "),
        (
            &["--tolerate=missing-connection,http10-acceptance"],
            "HTTP/1.1 101 ",
        ),
    ] {
        let gateway = TestGateway::start(args).await;
        let mut stream = TcpStream::connect(gateway.http).await.unwrap();
        stream.write_all(handshake).await.unwrap();
        let mut start = [0; 13];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(start, status.as_bytes());
    }
}

/// Some devices compare the names of a 101's fields with those of RFC 6455.
#[tokio::test]
async fn names_in_a_101_are_in_title_case() {
    let gateway = TestGateway::start(&[]).await;
    let mut stream = TcpStream::connect(gateway.http).await.unwrap();
    stream
        .write_all(
            b"GET /ws/echo HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
              sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await
        .unwrap();
    let mut bytes = [0; 1024];
    let count = stream.read(&mut bytes).await.unwrap();
    let head = String::from_utf8_lossy(&bytes[..count]);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for name in [
        "\r\nConnection: ",
        "\r\nUpgrade: ",
        "\r\nSec-Websocket-Accept: ",
    ] {
        assert!(head.contains(name), "{name} in {head}");
    }
}
