//! Clients of HTTP/2, whose requests are forwarded over HTTP/1.1.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody, combinators::BoxBody};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinSet};

use super::kit::{Played, answering, proxy};
use crate::support::{deadline::within, serve::Server};

type Body = BoxBody<Bytes, std::convert::Infallible>;

struct Client {
    sender: SendRequest<Body>,
    _task: JoinSet<()>,
}

impl Client {
    async fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.addr()).await.unwrap();
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move { drop(connection.await) });
        Self {
            sender,
            _task: task,
        }
    }
}

fn get() -> Request<Body> {
    Request::get("http://app.test/app/x")
        .body(Empty::new().boxed())
        .unwrap()
}

#[tokio::test]
async fn a_request_becomes_one_of_http_1_1_and_its_answer_fits() {
    let upstream = answering(|_| {
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-hop\r\nKeep-Alive: timeout=9\r\nX-Hop: 1\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nho\r\n0\r\n\r\n"
            .to_owned()
    })
    .await;
    let proxy = proxy(&[&upstream], |layer| layer).await;
    let mut client = Client::connect(&proxy).await;
    let mut request = get();
    for cookie in ["a=1", "b=2"] {
        request
            .headers_mut()
            .append("cookie", cookie.parse().unwrap());
    }
    let response = within("an answer", client.sender.send_request(request))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    for name in ["connection", "keep-alive", "x-hop", "transfer-encoding"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "ho"
    );
    let up = upstream.log().heads.remove(0);
    assert_eq!(up.start, "GET /app/x HTTP/1.1");
    assert_eq!(up.get("host"), Some("app.test"));
    assert_eq!(up.all("cookie").collect::<Vec<_>>(), ["a=1; b=2"]);
    for name in ["transfer-encoding", "content-length", "te"] {
        assert_eq!(up.get(name), None, "{name}");
    }
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], |layer| layer).await;
    let mut client = Client::connect(&proxy).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "up".parse().unwrap());
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"hi"))),
        Ok(Frame::trailers(trailers)),
    ];
    let request = Request::post("http://app.test/app/x")
        .header("te", "trailers")
        .header("trailer", "x-sum")
        .body(BodyExt::boxed(StreamBody::new(stream::iter(frames))))
        .unwrap();
    let sent = client.sender.send_request(request);
    let upstream = async {
        let (mut upstream, head) = app.request().await;
        assert_eq!(head.get("transfer-encoding"), Some("chunked"));
        assert_eq!(head.get("te"), Some("trailers"));
        assert_eq!(&upstream.read_chunk().await[..], b"hi");
        assert!(upstream.read_chunk().await.is_empty());
        assert_eq!(upstream.read_trailers().await, ["x-sum: up"]);
        upstream
            .send(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                  2\r\nho\r\n0\r\nX-Sum: down\r\n\r\n",
            )
            .await;
        upstream
    };
    let (response, _upstream) = tokio::join!(within("an answer", sent), upstream);
    let body = response.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "down");
    assert_eq!(body.to_bytes(), "ho");
}

#[tokio::test]
async fn an_answer_that_breaks_off_resets_its_stream_and_no_other() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], |layer| layer).await;
    let mut client = Client::connect(&proxy).await;
    let broken = client.sender.send_request(get());
    let (mut upstream, _) = app.request().await;
    upstream
        .send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
        .await;
    let response = within("an answer", broken).await.unwrap();
    drop(upstream);
    let body = within("the end", response.into_body().collect()).await;
    assert!(body.is_err());

    let whole = client.sender.send_request(get());
    let (mut upstream, _) = app.request().await;
    upstream
        .send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let response = within("an answer", whole).await.unwrap();
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "ok"
    );
}

#[tokio::test]
async fn a_stream_that_is_reset_takes_its_request_with_it() {
    let mut app = Played::start().await;
    let proxy = proxy(&[&app.upstream], |layer| layer).await;
    let mut client = Client::connect(&proxy).await;
    let sent = client.sender.send_request(get());
    let mut sent = tokio::spawn(sent);
    let (mut upstream, _) = app.request().await;
    sent.abort();
    assert!((&mut sent).await.is_err());
    upstream.expect_eof().await;
}
