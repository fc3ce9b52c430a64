//! Waits, on a paused clock and in memory.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody, combinators::BoxBody};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
    time::Instant,
};
use tower::ServiceExt;
use wsplice::{
    Error, ErrorKind, ForwardHttp, Pool, ProxyLayer,
    connect::{Address, Connect, ConnectFuture, Transport},
    proxy::ResponseBody,
};

pub(super) type Body = BoxBody<Bytes, Infallible>;

pub(super) type RelayedBody = ResponseBody<http_body_util::Full<Bytes>>;

/// Connects to the test.
#[derive(Clone, Debug, Default)]
pub(super) struct InMemory(Arc<Mutex<Vec<DuplexStream>>>);

impl Connect for InMemory {
    fn connect<'a>(&'a self, _address: &'a Address) -> ConnectFuture<'a> {
        let (near, far) = duplex(1024);
        self.0.lock().unwrap().push(far);
        Box::pin(async { io::Result::Ok(Transport::new(near)) })
    }
}

impl InMemory {
    /// The number of connections that were opened and not accepted.
    pub(super) fn waiting(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// The upstream's end of the connection, once there is one, and what was sent so far.
    pub(super) async fn accept(&self) -> DuplexStream {
        loop {
            if let Some(far) = self.0.lock().unwrap().pop() {
                return far;
            }
            tokio::task::yield_now().await;
        }
    }
}

pub(super) fn setup(how: ForwardHttp) -> (InMemory, ProxyLayer<ForwardHttp>) {
    let memory = InMemory::default();
    let layer = ProxyLayer::new(Pool::new(["ws://app.test"]).unwrap())
        .connector(memory.clone())
        .forward_http(how);
    (memory, layer)
}

pub(super) fn request(body: Body) -> Request<Body> {
    Request::post("/x")
        .header("host", "app.test")
        .body(body)
        .unwrap()
}

pub(super) async fn call(layer: ProxyLayer<ForwardHttp>, body: Body) -> Response<RelayedBody> {
    layer.into_service().oneshot(request(body)).await.unwrap()
}

pub(super) fn no_body() -> Body {
    Empty::new().boxed()
}

#[tokio::test(start_paused = true)]
async fn a_body_over_a_limit_around_the_proxy_is_a_413() {
    let (_memory, layer) = setup(ForwardHttp::new());
    let (pieces, body) = written();
    pieces.send("0123456789").unwrap();
    let limited = http_body_util::Limited::new(body, 4).map_err(axum::Error::new);
    let request = Request::post("/x")
        .header("host", "app.test")
        .body(limited)
        .unwrap();
    let response = layer.into_service().oneshot(request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), kind(&response)),
        (413, Some(ErrorKind::RequestBodyTooLarge))
    );
}

/// A body that the test writes.
fn written() -> (mpsc::UnboundedSender<&'static str>, Body) {
    let (sender, mut pieces) = mpsc::unbounded_channel();
    let frames = futures_util::stream::poll_fn(move |cx| {
        let frame = |piece: &'static str| Ok(Frame::data(Bytes::from(piece)));
        pieces.poll_recv(cx).map(|piece| piece.map(frame))
    });
    (sender, BodyExt::boxed(StreamBody::new(frames)))
}

/// Reads a response up to its error.
pub(super) async fn read_to_error(body: &mut RelayedBody) -> Error {
    loop {
        if let Err(error) = body.frame().await.unwrap() {
            return *error.downcast().unwrap();
        }
    }
}

pub(super) fn kind(response: &Response<impl Sized>) -> Option<ErrorKind> {
    response.extensions().get::<Error>().map(Error::kind)
}

pub(super) async fn read(far: &mut DuplexStream) -> String {
    let mut bytes = [0; 1024];
    let count = far.read(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Sends a request, and responds with these bytes; returns the body of the response, and the
/// upstream's end of the connection.
pub(super) async fn begin(
    memory: &InMemory,
    layer: ProxyLayer<ForwardHttp>,
    response: impl AsRef<[u8]>,
) -> (RelayedBody, DuplexStream) {
    let answered = tokio::spawn(call(layer, no_body()));
    let mut far = memory.accept().await;
    read(&mut far).await;
    far.write_all(response.as_ref()).await.unwrap();
    (answered.await.unwrap().into_body(), far)
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_does_not_answer_is_a_504_after_the_answer_timeout() {
    let limit = Duration::from_secs(120);
    let (memory, layer) = setup(ForwardHttp::new());
    let began = Instant::now();
    let response = call(layer, no_body()).await;
    assert_eq!(
        (response.status().as_u16(), kind(&response)),
        (504, Some(ErrorKind::ResponseTimeout))
    );
    assert!((limit..limit + Duration::from_secs(1)).contains(&began.elapsed()));
    // The upstream sees that the client's exchange is over.
    let mut far = memory.accept().await;
    assert!(read(&mut far).await.starts_with("POST /x"));
    assert_eq!(read(&mut far).await, "");
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_makes_no_upstream_late() {
    let how = ForwardHttp::new()
        .response_timeout(Duration::from_secs(10))
        .minimum_rate(None);
    let (memory, layer) = setup(how);
    let (pieces, body) = written();
    let answered = tokio::spawn(call(layer, body));
    let mut far = memory.accept().await;
    assert!(read(&mut far).await.contains("chunked"));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        pieces.send("hi").unwrap();
        assert_eq!(read(&mut far).await, "2\r\nhi\r\n");
    }
    drop(pieces);
    assert_eq!(read(&mut far).await, "0\r\n\r\n");
    let began = Instant::now();
    let response = answered.await.unwrap();
    assert_eq!(kind(&response), Some(ErrorKind::ResponseTimeout));
    assert!(began.elapsed() >= Duration::from_secs(9));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_in_its_request_is_a_408_and_no_failure_of_the_upstream() {
    let (memory, layer) = setup(ForwardHttp::new());
    let (_pieces, body) = written();
    let began = Instant::now();
    let response = call(layer, body).await;
    let kind = kind(&response);
    assert_eq!(
        (response.status().as_u16(), kind),
        (408, Some(ErrorKind::RequestBodyTimeout))
    );
    assert!((60..62).contains(&began.elapsed().as_secs()));
    let mut far = memory.accept().await;
    read(&mut far).await;
    assert_eq!(read(&mut far).await, "");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_takes_no_more_of_the_body_is_late_too() {
    let (memory, layer) = setup(ForwardHttp::new());
    let (pieces, body) = written();
    let answered = tokio::spawn(call(layer, body));
    let _far = memory.accept().await;
    let piece: &'static str = "0123456789abcdef".repeat(1 << 13).leak();
    for _ in 0..8 {
        pieces.send(piece).unwrap();
    }
    let response = answered.await.unwrap();
    assert_eq!(kind(&response), Some(ErrorKind::ResponseTimeout));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stops_is_broken_off() {
    let (memory, layer) = setup(ForwardHttp::new());
    let (mut body, mut far) = begin(&memory, layer, OK).await;
    far.write_all(b"h").await.unwrap();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "h");
    let began = Instant::now();
    let error = read_to_error(&mut body).await;
    assert_eq!(error.kind(), ErrorKind::ResponseBodyTimeout);
    assert!((300..302).contains(&began.elapsed().as_secs()));
    assert_eq!(read(&mut far).await, "");
}

#[tokio::test(start_paused = true)]
async fn without_that_timeout_an_answer_may_be_silent_for_ever() {
    let (memory, layer) = setup(ForwardHttp::new().response_idle_timeout(None));
    let (body, mut far) = begin(&memory, layer, OK).await;
    let collected = tokio::spawn(body.collect());
    tokio::time::sleep(Duration::from_secs(36_000)).await;
    far.write_all(b"hi").await.unwrap();
    assert_eq!(collected.await.unwrap().unwrap().to_bytes(), "hi");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_slow_to_read_makes_no_upstream_late() {
    let (memory, layer) = setup(ForwardHttp::new());
    let (body, mut far) = begin(&memory, layer, OK).await;
    far.write_all(b"hi").await.unwrap();
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(body.collect().await.unwrap().to_bytes(), "hi");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_gives_its_place_back_after_a_minute() {
    let (memory, layer) = setup(ForwardHttp::new());
    let pool = layer.pool();
    let began = Instant::now();
    let (mut body, mut far) = begin(&memory, layer, OK).await;
    far.write_all(b"h").await.unwrap();
    assert_eq!(pool.snapshot()[0].tunnels, 1);
    // The upstream's connection is closed although the body is not polled.
    assert_eq!(read(&mut far).await, "");
    assert_eq!(began.elapsed().as_secs(), 60);
    assert_eq!(pool.snapshot()[0].tunnels, 0);
    let error = read_to_error(&mut body).await;
    assert_eq!(error.kind(), ErrorKind::ClientReadTimeout);
    assert_eq!(error.side(), wsplice::tunnel::Side::Client);
}

/// The connection has ended before the client reads: its bytes still wait for the client.
#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_gives_its_place_back_even_if_the_upstream_has_left() {
    let (memory, layer) = setup(ForwardHttp::new());
    let pool = layer.pool();
    let response = "HTTP/1.1 200 OK\r\n\r\nhello";
    let (mut body, far) = begin(&memory, layer, response).await;
    drop(far);
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(pool.snapshot()[0].tunnels, 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(pool.snapshot()[0].tunnels, 0);
    assert!(body.frame().await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_one_byte_every_59_seconds_does_not_hold_an_exchange_for_ever() {
    let (memory, layer) = setup(ForwardHttp::new());
    let (pieces, body) = written();
    let answered = tokio::spawn(call(layer, body));
    let _far = memory.accept().await;
    let began = Instant::now();
    tokio::spawn(async move {
        while pieces.send("x").is_ok() {
            tokio::time::sleep(Duration::from_secs(59)).await;
        }
    });
    let response = answered.await.unwrap();
    assert_eq!(kind(&response), Some(ErrorKind::RequestBodyTimeout));
    assert!((60..62).contains(&began.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_one_byte_every_59_seconds_does_not_hold_an_exchange_for_ever() {
    let (memory, layer) = setup(ForwardHttp::new());
    let began = Instant::now();
    let (mut body, mut far) = begin(&memory, layer, CHUNKED).await;
    tokio::spawn(async move { while far.write_all(b"1\r\nx\r\n").await.is_ok() {} });
    let error = loop {
        match body.frame().await.unwrap() {
            Ok(_) => tokio::time::sleep(Duration::from_secs(59)).await,
            Err(error) => break error,
        }
    };
    let error = error.downcast_ref::<Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::ClientReadTimeout);
    assert_eq!(began.elapsed().as_secs(), 118, "seen when it reads again");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_event_stream_is_no_slow_client() {
    let (memory, layer) = setup(ForwardHttp::new());
    let (mut body, mut far) = begin(&memory, layer, CHUNKED).await;
    tokio::spawn(async move {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(290)).await;
            far.write_all(b"1\r\nx\r\n").await.unwrap();
        }
        far.write_all(b"0\r\n\r\n").await.unwrap();
    });
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(bytes, 20);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_may_be_bounded_as_a_whole() {
    let limit = Duration::from_secs(90);
    let how = ForwardHttp::new().exchange_timeout(limit);
    let (memory, layer) = setup(how.clone());
    let began = Instant::now();
    let response = call(layer, no_body()).await;
    assert_eq!(
        (response.status().as_u16(), kind(&response)),
        (504, Some(ErrorKind::ExchangeTimeout))
    );
    assert_eq!(began.elapsed(), limit);
    drop(memory);

    let (memory, layer) = setup(how);
    let began = Instant::now();
    let (mut body, mut far) = begin(&memory, layer, CHUNKED).await;
    tokio::spawn(async move {
        while far.write_all(b"1\r\nx\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let error = read_to_error(&mut body).await;
    assert_eq!(error.kind(), ErrorKind::ExchangeTimeout);
    assert_eq!(began.elapsed(), limit);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_not_used_again_from_its_maximum_age_on() {
    let second = Duration::from_secs(1);
    // Idle from the eighth second on, the connection is too old in the tenth.
    for (age, connections) in [(None, 1), (Some(9 * second), 3)] {
        let (memory, layer) = setup(ForwardHttp::new().max_connection_age(age));
        let mut opened = Vec::new();
        for _ in 0..12 {
            let answered = tokio::spawn(call(layer.clone(), no_body()));
            // On the latest connection, or on a new one.
            let arrives = loop {
                opened.extend(memory.0.lock().unwrap().pop());
                let Some(latest) = opened.last_mut() else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let read = tokio::time::timeout(Duration::from_millis(1), read(latest)).await;
                if read.is_ok_and(|head| !head.is_empty()) {
                    break latest;
                }
            };
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            arrives.write_all(answer).await.unwrap();
            assert_eq!(answered.await.unwrap().status(), 200);
            tokio::time::sleep(2 * second).await;
        }
        assert_eq!(opened.len(), connections, "{age:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_four_seconds_and_for_less_if_the_upstream_says_so() {
    for (line, seconds) in [("", 4), ("Keep-Alive: timeout=3\r\n", 2)] {
        let (memory, layer) = setup(ForwardHttp::new());
        let response = format!("HTTP/1.1 200 OK\r\n{line}Content-Length: 0\r\n\r\n");
        let (body, mut far) = begin(&memory, layer.clone(), response).await;
        assert_eq!(body.collect().await.unwrap().to_bytes(), "");
        let began = Instant::now();
        assert_eq!(read(&mut far).await, "");
        assert_eq!(began.elapsed().as_secs(), seconds);
        drop(layer);
    }
}
