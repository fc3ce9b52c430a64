//! Limits on whole exchanges and on rates, over sockets.
//!
//! A rate is measured over a minute, so the clock of these tests is paused: it goes on by itself
//! whenever nothing else is to be done. Nothing asserts a time.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use wsplice::{ForwardHttp, Pool, ProxyLayer};

use crate::support::serve::{Server, serve_axum};

/// An upstream whose every connection is served by the function.
async fn upstream<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> (String, JoinSet<()>)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(serve(stream));
        }
    });
    (url, accepting)
}

/// A proxy with these settings, on a clock that is paused from now on.
async fn proxy(url: &str, how: ForwardHttp) -> (Server, Pool) {
    let pool: Pool = Pool::new([url]).unwrap().into();
    // The client's silence in reading is another limit.
    let layer = ProxyLayer::new(pool.clone())
        .response_write_timeout(None)
        .forward_http(how);
    let server = serve_axum(axum::Router::new().layer(layer)).await;
    tokio::time::pause();
    (server, pool)
}

async fn connect(server: &Server, request: &str) -> TcpStream {
    let mut client = TcpStream::connect(server.addr()).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    client
}

async fn read_to_end(client: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = client.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn until_free(pool: &Pool) {
    while pool.snapshot()[0].tunnels > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Reads everything, and never responds.
async fn read_on(mut stream: TcpStream) -> io::Result<()> {
    while stream.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

/// Responds with chunks, one each second, or as fast as the proxy takes them.
async fn respond(mut stream: TcpStream, pace: Duration) -> io::Result<()> {
    stream.read_exact(&mut [0; GET.len()]).await?;
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head).await?;
    let chunk = [b"2000\r\n", &[b'x'; 0x2000][..], b"\r\n"].concat();
    loop {
        stream.write_all(&chunk).await?;
        tokio::time::sleep(pace).await;
    }
}

const GET: &str = "GET /x HTTP/1.1\r\nHost: app.test\r\n\r\n";
const POST: &str = "POST /x HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn an_exchange_that_takes_too_long_before_its_response_is_a_504() {
    let (url, _upstream) = upstream(read_on).await;
    let how = ForwardHttp::new().exchange_timeout(Duration::from_secs(30));
    let (server, pool) = proxy(&url, how).await;
    let mut client = connect(&server, GET).await;
    // The connection stays open.
    let mut status = [0; 13];
    client.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 504 ");
    until_free(&pool).await;
}

#[tokio::test]
async fn a_response_that_takes_too_long_is_broken_off() {
    let (url, _upstream) = upstream(|it| respond(it, Duration::from_secs(1))).await;
    let how = ForwardHttp::new().exchange_timeout(Duration::from_secs(30));
    let (server, pool) = proxy(&url, how).await;
    let mut client = connect(&server, GET).await;
    let response = read_to_end(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert!(!response.ends_with("0\r\n\r\n"), "{response}");
    until_free(&pool).await;
}

#[tokio::test]
async fn a_client_below_the_minimum_rate_of_uploads_is_a_408() {
    let (url, _upstream) = upstream(read_on).await;
    let (server, pool) = proxy(&url, ForwardHttp::new()).await;
    let client = connect(&server, POST).await;
    let (mut read, mut write) = client.into_split();
    let dribbling = async {
        while write.write_all(b"1\r\nx\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
    };
    let mut status = [0; 13];
    tokio::select! {
        () = dribbling => panic!("the server closed the connection without a response"),
        response = read.read_exact(&mut status) => drop(response.unwrap()),
    }
    assert_eq!(&status, b"HTTP/1.1 408 ");
    until_free(&pool).await;
}

#[tokio::test]
async fn a_client_below_the_minimum_rate_of_downloads_holds_no_upstream() {
    let (url, _upstream) = upstream(|it| respond(it, Duration::ZERO)).await;
    let (server, pool) = proxy(&url, ForwardHttp::new()).await;
    let client = connect(&server, GET).await;
    while pool.snapshot()[0].tunnels == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The client is there all the time, and reads nothing.
    until_free(&pool).await;
    drop(client);
}

#[tokio::test]
async fn a_client_above_the_minimum_rate_is_served() {
    let (url, _upstream) = upstream(|it| respond(it, Duration::from_secs(1))).await;
    let (server, _pool) = proxy(&url, ForwardHttp::new()).await;
    let mut client = connect(&server, GET).await;
    client.read_exact(&mut vec![0; 200 * 0x2000]).await.unwrap();
}
