//! Requests whose host decides late, or gives them little time: on a paused clock and in memory.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tower::ServiceExt;
use wsplice::{
    AuthorizationRequest, Error, ErrorKind, ForwardHttp, Observer, ProxyLayer, Rejection,
    RequestOptions,
    connect::{Address, Connect, ConnectFuture},
    observe::RequestInfo,
    tunnel::Side,
};

use super::clocks::{call, kind, no_body, read, request, setup};

/// An upstream that never responds, and one that never accepts a connection.
#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_request_is_no_failure_of_its_upstream() {
    for connects in [true, false] {
        let seen = Failures::default();
        let (memory, layer) = setup(ForwardHttp::new());
        let layer = match connects {
            true => layer,
            false => layer.connector(Never),
        };
        let left = Duration::from_secs(1);
        let layer =
            layer
                .observer(seen.clone())
                .authorize(move |_: AuthorizationRequest| async move {
                    let deadline = Instant::now() + left;
                    Ok::<_, Rejection>(RequestOptions::new().deadline(deadline))
                });
        let began = Instant::now();
        let response = call(layer, no_body()).await;
        let got = (response.status().as_u16(), kind(&response));
        assert_eq!(got, (504, Some(ErrorKind::ExchangeTimeout)), "{connects}");
        assert_eq!(began.elapsed(), left);
        let sides: Vec<_> = seen.0.lock().unwrap().drain(..).collect();
        assert!(!sides.contains(&Side::Upstream), "{connects}: {sides:?}");
        drop(memory);
    }
}

/// Neither over a connection of its own, nor over one that is open and idle.
#[tokio::test(start_paused = true)]
async fn a_request_whose_deadline_has_passed_reaches_no_upstream() {
    let (memory, layer) = setup(ForwardHttp::new());
    let left = Arc::new(Mutex::new(Duration::ZERO));
    let given = Arc::clone(&left);
    let layer = layer.authorize(move |_: AuthorizationRequest| {
        let deadline = Instant::now() + *given.lock().unwrap();
        async move { Ok::<_, Rejection>(RequestOptions::new().deadline(deadline)) }
    });
    let service = layer.into_service();
    let call = || service.clone().oneshot(request(no_body()));
    let response = call().await.unwrap();
    assert_eq!(kind(&response), Some(ErrorKind::ExchangeTimeout));
    assert_eq!(memory.waiting(), 0);

    *left.lock().unwrap() = Duration::from_secs(1);
    let answered = tokio::spawn(call());
    let mut far = memory.accept().await;
    read(&mut far).await;
    far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    let response = answered.await.unwrap().unwrap();
    response.into_body().collect().await.unwrap();

    *left.lock().unwrap() = Duration::ZERO;
    let response = call().await.unwrap();
    assert_eq!(kind(&response), Some(ErrorKind::ExchangeTimeout));
    let second = timeout(Duration::from_secs(1), far.read_u8()).await;
    assert!(second.is_err(), "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_a_request_whose_authorization_is_under_way() {
    let (memory, layer) = setup(ForwardHttp::new());
    let (asked, decided) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let drain = layer.drain();
    let exchange = spawn_undecided(layer, &asked, &decided);
    asked.notified().await;
    let draining = tokio::spawn(async move { drain.run().await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!draining.is_finished(), "the request is not over");

    decided.notify_one();
    let mut far = memory.accept().await;
    read(&mut far).await;
    far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(exchange.await.unwrap(), (200, None));
    assert_eq!(draining.await.unwrap().aborted_requests, 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_cuts_off_a_request_whose_authorization_never_ends() {
    let (memory, layer) = setup(ForwardHttp::new());
    let (asked, decided) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let drain = layer.drain().deadline(Duration::from_secs(2));
    let exchange = spawn_undecided(layer, &asked, &decided);
    asked.notified().await;
    assert_eq!(drain.run().await.aborted_requests, 1);
    assert_eq!(exchange.await.unwrap(), (503, Some(ErrorKind::Draining)));
    assert_eq!(memory.waiting(), 0);
}

/// Sends a request that is authorized once `decided` is notified; the status and the error of its response.
fn spawn_undecided(
    layer: ProxyLayer<ForwardHttp>,
    asked: &Arc<Notify>,
    decided: &Arc<Notify>,
) -> JoinHandle<(u16, Option<ErrorKind>)> {
    let (asked, decided) = (Arc::clone(asked), Arc::clone(decided));
    let layer = layer.authorize(move |_: AuthorizationRequest| {
        let (asked, decided) = (Arc::clone(&asked), Arc::clone(&decided));
        async move {
            asked.notify_one();
            decided.notified().await;
            Ok::<_, Rejection>(RequestOptions::new())
        }
    });
    tokio::spawn(async move {
        let response = call(layer, no_body()).await;
        let outcome = (response.status().as_u16(), kind(&response));
        let _ = response.into_body().collect().await;
        outcome
    })
}

/// Sides to which failures were attributed.
#[derive(Clone, Debug, Default)]
struct Failures(Arc<Mutex<Vec<Side>>>);

impl Observer for Failures {
    fn request_failed(&self, _request: &RequestInfo<'_>, error: &Error) {
        self.0.lock().unwrap().push(error.side());
    }
}

#[derive(Clone, Debug)]
struct Never;

impl Connect for Never {
    fn connect<'a>(&'a self, _address: &'a Address) -> ConnectFuture<'a> {
        Box::pin(std::future::pending())
    }
}
