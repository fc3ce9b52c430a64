//! Effects of a forwarded request: slots, policies, health, cookies.

use std::sync::{Arc, Mutex};

use wsplice::{
    Admission, Error, Observer, Pool,
    balance::{First, RoundRobin},
    health::{HealthState, Passive},
    observe::RequestInfo,
};

use super::kit::{Played, answer, answering, ask, client, layer, named};
#[cfg(feature = "sticky")]
use crate::support::raw::RawClient;
use crate::support::serve::serve_axum;

#[tokio::test]
async fn an_exchange_takes_a_place_until_its_answer_has_ended() {
    let mut app = Played::start().await;
    let pool = Pool::new([app.upstream.url()])
        .unwrap()
        .admission(Admission::new().max_tunnels(1).max_handshakes(0))
        .build();
    let server = serve_axum(super::kit::inner().layer(layer(pool.clone()))).await;
    let tunnels = || pool.snapshot()[0].tunnels;
    let mut first = client(&server, ask("GET", &[])).await;
    let (mut upstream, _) = app.request().await;
    upstream
        .send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        .await;
    first.read_head().await;
    assert_eq!((tunnels(), pool.snapshot()[0].handshakes), (1, 0));
    let (head, body) = answer(&server, ask("GET", &[])).await;
    assert_eq!((head.status(), &*body), (503, "too many tunnels\n"));
    assert!(head.get("retry-after").is_some());
    upstream.send(b"0\r\n\r\n").await;
    first.read_chunk().await;
    assert!(first.read_chunk().await.is_empty());
    first.read_trailers().await;
    assert_eq!(tunnels(), 0);
}

#[tokio::test]
async fn an_exchange_whose_client_goes_away_gives_its_place_back() {
    let mut app = Played::start().await;
    let pool = Pool::new([app.upstream.url()]).unwrap().build();
    let server = serve_axum(super::kit::inner().layer(layer(pool.clone()))).await;
    let client = client(&server, ask("GET", &[])).await;
    let (mut upstream, _) = app.request().await;
    assert_eq!(pool.snapshot()[0].tunnels, 1);
    drop(client);
    upstream.expect_eof().await;
    assert_eq!(pool.snapshot()[0].tunnels, 0);
}

#[tokio::test]
async fn answers_of_500_and_above_make_others_preferable_and_one_client_ejects_no_upstream() {
    for (status, healthy) in [
        ("404 Not Found", true),
        ("500 Internal Server Error", false),
    ] {
        let upstream =
            answering(move |_| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await;
        let pool = Pool::new([upstream.url()]).unwrap().build();
        let server = serve_axum(super::kit::inner().layer(layer(pool.clone()))).await;
        for _ in 0..5 {
            answer(&server, ask("GET", &[])).await;
        }
        let upstream = pool.snapshot().remove(0);
        assert_eq!(upstream.is_doubted, !healthy, "{status}");
        assert!(upstream.health.is_usable(), "{status}: {upstream:?}");
    }
}

#[tokio::test]
async fn good_answers_make_up_for_bad_ones() {
    let upstream = answering(|head| match head.get("x-fail") {
        Some(_) => "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_owned(),
        None => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
    })
    .await;
    let pool = Pool::new([upstream.url()]).unwrap().build();
    let server = serve_axum(super::kit::inner().layer(layer(pool.clone()))).await;
    for _ in 0..4 {
        for lines in [&["X-Fail: 1"][..], &[], &[]] {
            answer(&server, ask("GET", lines)).await;
        }
    }
    let health = pool.snapshot().remove(0).health;
    assert!(
        !matches!(health, HealthState::Unhealthy { .. }),
        "{health:?}"
    );
}

#[tokio::test]
async fn the_policy_spreads_requests_too() {
    let (one, two) = (named("one").await, named("two").await);
    let pool = Pool::new([one.url(), two.url()])
        .unwrap()
        .balance(RoundRobin::new());
    let server = serve_axum(super::kit::inner().layer(layer(pool))).await;
    for _ in 0..6 {
        answer(&server, ask("GET", &[])).await;
    }
    assert_eq!((one.log().heads.len(), two.log().heads.len()), (3, 3));
}

/// The client's chunk is not one, while the upstream is in the middle of its response.
#[tokio::test]
async fn an_upload_that_fails_after_the_response_has_begun_is_the_clients_failure() {
    let mut app = Played::start().await;
    let pool = Pool::new([app.upstream.url()])
        .unwrap()
        .health_policy(Passive::default().fails(1))
        .build();
    let events = RecordingObserver::default();
    let layer = layer(pool.clone()).observer(events.clone());
    let server = serve_axum(super::kit::inner().layer(layer)).await;
    let request = ask("POST", &["Transfer-Encoding: chunked"]) + "2\r\nhi\r\n";
    let mut client = client(&server, request).await;
    let (mut upstream, _) = app.request().await;
    upstream
        .send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        .await;
    client.read_head().await;
    client.read_chunk().await;
    client.send(b"ZZ\r\n").await;
    while client
        .try_read_some()
        .await
        .is_ok_and(|rest| !rest.is_empty())
    {}
    while pool.snapshot()[0].tunnels > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        *events.0.lock().unwrap(),
        ["answered /app/x 200", "rejected /app/x RequestBody"]
    );
    assert!(pool.snapshot()[0].health.is_usable());
}

/// Socket.IO's first polls and its later upgrade must meet the same server.
#[cfg(feature = "sticky")]
#[tokio::test]
async fn polls_and_the_later_upgrade_reach_the_same_upstream() {
    use wsplice::balance::Sticky;

    let app = |name: &'static str| {
        crate::support::upstream::RawUpstream::start(move |mut conn| async move {
            while let Some(head) = conn.try_read_request_head().await {
                if head.get("upgrade").is_some() {
                    conn.accept_101(&head, &[("X-App", name)]).await;
                    return;
                }
                let length = name.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
                conn.send(answer.as_bytes()).await;
            }
        })
    };
    let (one, two) = (app("one").await, app("two").await);
    for _ in 0..8 {
        let pool = Pool::new([one.url(), two.url()])
            .unwrap()
            .balance(Sticky::new("up", [7; 32]).unwrap());
        let server = serve_axum(super::kit::inner().layer(layer(pool))).await;
        let (head, name) = answer(&server, ask("GET", &[])).await;
        let cookie = head.get("set-cookie").unwrap().split(';').next().unwrap();
        let line = format!("Cookie: {cookie}");
        let post = ask("POST", &[&line, "Content-Length: 0"]);
        let (again, same) = answer(&server, post).await;
        assert_eq!((again.get("set-cookie"), &same), (None, &name));
        let mut socket = RawClient::connect(server.addr()).await;
        let head = socket.handshake("/app/x", &[("Cookie", cookie)]).await;
        assert_eq!((head.status(), head.get("x-app")), (101, Some(&*name)));
    }
}

/// Observer that records the events of requests as text.
#[derive(Clone, Debug, Default)]
struct RecordingObserver(Arc<Mutex<Vec<String>>>);

impl RecordingObserver {
    fn write(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl Observer for RecordingObserver {
    fn request_responded(&self, request: &RequestInfo<'_>, status: http::StatusCode) {
        assert!(request.upstream.is_some());
        self.write(format!("answered {} {}", request.path, status.as_u16()));
    }

    fn request_rejected(&self, request: &RequestInfo<'_>, error: &Error) {
        self.write(format!("rejected {} {:?}", request.path, error.kind()));
    }

    fn request_failed(&self, request: &RequestInfo<'_>, error: &Error) {
        assert!(request.upstream.is_some());
        self.write(format!("failed {} {:?}", request.path, error.kind()));
    }

    fn request_retried(&self, request: &RequestInfo<'_>, attempt: usize) {
        self.write(format!("retried {} {attempt}", request.path));
    }
}

#[tokio::test]
async fn the_observer_is_told_of_requests() {
    let mut app = Played::start().await;
    let closed = crate::support::upstream::closed_addr().await;
    let pool = Pool::new([format!("ws://{closed}"), app.upstream.url()]).unwrap();
    let events = RecordingObserver::default();
    let layer = layer(pool.balance(First::new())).observer(events.clone());
    let server = serve_axum(super::kit::inner().layer(layer)).await;
    let mut client = client(&server, ask("GET", &[])).await;
    let (mut upstream, _) = app.request().await;
    upstream
        .send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx")
        .await;
    client.read_head().await;
    client.read_exact(1).await;
    drop(upstream);
    assert!(
        client
            .try_read_some()
            .await
            .is_ok_and(|rest| rest.is_empty())
    );
    answer(&server, "GET /app/x HTTP/1.1\r\n\r\n").await;
    assert_eq!(
        *events.0.lock().unwrap(),
        [
            "failed /app/x Connect",
            "retried /app/x 2",
            "answered /app/x 200",
            "failed /app/x ResponseBody",
            "rejected /app/x MalformedRequest",
        ]
    );
}
