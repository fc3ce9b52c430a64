use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::yield_now,
    time::sleep,
};

use crate::{
    http::handshake::{UpgradeResponse, exchange},
    http::relay::{HeadLimits, ProgressLimits},
    net::{
        connect::{Dialer, UpstreamConnection},
        transport::Transport,
    },
};

use super::*;

const UPSTREAM: Duration = Duration::from_secs(30);
const CLIENT: Duration = Duration::from_secs(60);

/// Guard that records how the exchange ended.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<Option<String>>>);

impl Recorded {
    fn end(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

struct Recorder(Recorded);

impl ExchangeGuard for Recorder {
    fn completed(self: Box<Self>) {
        self.0.0.lock().unwrap().replace("completed".to_owned());
    }

    fn failed(self: Box<Self>, error: &Error) {
        let kind = format!("{:?}", error.kind());
        self.0.0.lock().unwrap().replace(kind);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let mut end = self.0.0.lock().unwrap();
        end.get_or_insert_with(|| "dropped".to_owned());
    }
}

fn limits(upstream: Option<Duration>) -> RelayLimits {
    RelayLimits {
        upstream: ProgressLimits::of_silence(upstream),
        client: ProgressLimits::of_silence(CLIENT),
        until: None,
    }
}

/// Relays a refusal with these headers and the first bytes of its body.
async fn relayed(response: &str, limits: RelayLimits) -> (RelayedBody, Recorded, DuplexStream) {
    let (near, mut far) = duplex(1 << 20);
    let upstream = async {
        assert!(far.read(&mut [0; 1024]).await.unwrap() > 0);
        let response = format!("HTTP/1.1 403 Forbidden\r\n{response}");
        far.write_all(response.as_bytes()).await.unwrap();
    };
    let connection = UpstreamConnection::Own(Transport::new(near));
    let dialer = Dialer::default();
    let request = Request::new(Empty::<Bytes>::new());
    let exchange = exchange(connection, &dialer, request, HeadLimits::default());
    let UpgradeResponse::Refused(response) = tokio::join!(exchange, upstream).0.unwrap() else {
        panic!("a 403 switches nothing")
    };
    let recorded = Recorded::default();
    let guard = Box::new(Recorder(recorded.clone()));
    let body = start(response.into_body(), limits, Some(guard), None).await;
    (body, recorded, far)
}

async fn is_closed(far: &mut DuplexStream) {
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_small_refusal_ends_its_exchange_at_once_read_or_not() {
    let (body, recorded, mut far) = relayed("Content-Length: 2\r\n\r\nno", limits(None)).await;
    assert_eq!(recorded.end().as_deref(), Some("completed"));
    is_closed(&mut far).await;
    assert_eq!(body.size_hint().exact(), Some(2));
    sleep(CLIENT * 10).await;
    assert_eq!(body.collect().await.unwrap().to_bytes(), "no");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_comes_in_pieces_ends_its_exchange_with_the_last_one() {
    let (body, recorded, mut far) = relayed("Content-Length: 2\r\n\r\nn", limits(None)).await;
    assert_eq!(recorded.end(), None);
    far.write_all(b"o").await.unwrap();
    is_closed(&mut far).await;
    assert_eq!(recorded.end().as_deref(), Some("completed"));
    assert_eq!(body.collect().await.unwrap().to_bytes(), "no");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_stops_times_out() {
    let (mut body, recorded, mut far) =
        relayed("Content-Length: 2\r\n\r\nn", limits(Some(UPSTREAM))).await;
    let began = Instant::now();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "n");
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResponseBodyTimeout);
    assert_eq!(began.elapsed(), UPSTREAM);
    assert_eq!(recorded.end().as_deref(), Some("ResponseBodyTimeout"));
    is_closed(&mut far).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_may_have_no_timeout() {
    let limits = limits(Some(Duration::MAX));
    let (mut body, _recorded, mut far) = relayed("Content-Length: 2\r\n\r\nn", limits).await;
    assert!(body.frame().await.unwrap().is_ok());
    let rest = tokio::spawn(async move { body.frame().await.unwrap().unwrap() });
    sleep(Duration::from_secs(1 << 20)).await;
    far.write_all(b"o").await.unwrap();
    assert_eq!(rest.await.unwrap().into_data().unwrap(), "o");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_no_large_refusal_ends_the_exchange_and_not_the_upstream() {
    let head = "Transfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let (mut body, recorded, mut far) =
        relayed(&format!("{head}{chunk}{chunk}"), limits(Some(UPSTREAM))).await;
    let began = Instant::now();
    is_closed(&mut far).await;
    assert_eq!(began.elapsed(), CLIENT);
    assert_eq!(recorded.end().as_deref(), Some("ClientReadTimeout"));
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ClientReadTimeout);
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_now_and_then_is_not_late() {
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let response = format!("Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(4));
    let (mut body, recorded, mut far) = relayed(&response, limits(Some(UPSTREAM))).await;
    far.write_all(b"0\r\n\r\n").await.unwrap();
    let mut length = 0;
    loop {
        sleep(CLIENT - Duration::from_secs(1)).await;
        let Some(frame) = body.frame().await else {
            break;
        };
        length += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(length, 4 << 16);
    assert_eq!(recorded.end().as_deref(), Some("completed"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_is_dropped_closes_its_connection() {
    let (body, recorded, mut far) = relayed("Content-Length: 2\r\n\r\nn", limits(None)).await;
    drop(body);
    is_closed(&mut far).await;
    assert_eq!(recorded.end().as_deref(), Some("dropped"));
}

#[tokio::test]
async fn trailers_of_a_refusal_lose_headers_of_the_head_rfc9110_6_5_1() {
    let response = "Transfer-Encoding: chunked\r\n\r\n\
        2\r\nno\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nConnection: x\r\n\r\n";
    let (body, recorded, _far) = relayed(response, limits(None)).await;
    assert_eq!(recorded.end().as_deref(), Some("completed"));
    let body = body.collect().await.unwrap();
    let mut expected = HeaderMap::new();
    expected.insert("x-sum", "1".parse().unwrap());
    assert_eq!(body.trailers(), Some(&expected));
}

#[tokio::test(start_paused = true)]
async fn a_drain_cuts_a_refusal_that_is_under_way() {
    let (near, _far) = duplex(1024);
    let (sender, cuts) = watch::channel(0);
    let source = http_body_util::StreamBody::new(Pending(near));
    let recorded = Recorded::default();
    let guard = Box::new(Recorder(recorded.clone()));
    let body = start(Box::pin(source), limits(None), Some(guard), Some(cuts)).await;
    sender.send_replace(1);
    while recorded.end().is_none() {
        yield_now().await;
    }
    assert_eq!(recorded.end().as_deref(), Some("Draining"));
    drop(body);
}

/// Stream of frames that never come.
struct Pending(#[allow(dead_code)] DuplexStream);

impl futures_core::Stream for Pending {
    type Item = Result<http_body::Frame<Bytes>, Error>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}
