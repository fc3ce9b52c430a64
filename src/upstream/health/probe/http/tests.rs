use std::sync::Mutex;

use super::*;
use crate::{
    net::connect::{Connect, ConnectFuture},
    upstream::health::probe::{
        TcpProbe, probe_fn,
        testing::{Refusing, Scripted, UpstreamEnd, failure, header, outcome},
    },
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"status\":\"ok\"}";
const MOVED: &str = "HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n";
const BAD: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nnot a WebSocket";
const UPGRADE: &str = "HTTP/1.1 426 Upgrade Required\r\nupgrade: websocket\r\n\
                       connection: upgrade\r\ncontent-length: 0\r\n\r\n";
const BROKEN: &str = "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n";

fn probe() -> HttpProbe {
    HttpProbe::get("/health")
}

async fn answered(probe: &HttpProbe, answer: &'static str) -> Result<(), String> {
    outcome(probe, Scripted::responding(answer)).await
}

#[tokio::test(start_paused = true)]
async fn two_and_three_hundreds_pass_unless_set() {
    assert_eq!(answered(&probe(), OK).await, Ok(()));
    assert_eq!(answered(&probe(), MOVED).await, Ok(()));
    let bad = answered(&probe(), BAD).await;
    assert_eq!(bad, Err("responded with 400 Bad Request".to_owned()));
    let broken = answered(&probe(), BROKEN).await;
    assert_eq!(
        broken,
        Err("responded with 500 Internal Server Error".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn expected_statuses_are_the_only_ones() {
    let probe = probe().expect_status(204..=204).expect_status(400..=404);
    assert!(answered(&probe, BAD).await.is_ok());
    assert!(answered(&probe, OK).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn every_response_passes_if_set() {
    let probe = probe().any_response();
    for answer in [OK, BAD, UPGRADE, BROKEN] {
        assert_eq!(answered(&probe, answer).await, Ok(()), "{answer}");
    }
    let hung_up = answered(&probe, "").await.unwrap_err();
    assert!(hung_up.starts_with("incomplete response: "), "{hung_up}");
    let not_http = answered(&probe, "SSH-2.0-x\r\n\r\n").await.unwrap_err();
    assert!(not_http.starts_with("incomplete response: "), "{not_http}");
}

#[tokio::test(start_paused = true)]
async fn an_unexpected_101_fails() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
    let said = answered(&probe(), switching).await;
    assert_eq!(
        said,
        Err("responded with 101 Switching Protocols".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_hangs_times_out_where_it_does() {
    let said = outcome(&probe(), Scripted::new(UpstreamEnd::hang)).await;
    assert_eq!(said, Err("response timed out after 5s".to_owned()));
    let in_body = Scripted::new(|mut far| async move {
        far.request().await;
        far.write(&OK.as_bytes()[..OK.len() - 3]).await;
        far.hang().await;
    });
    let said = outcome(&probe().expect_body("ok"), in_body).await;
    assert_eq!(said, Err("body timed out after 5s".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_body_must_have_the_text_within_the_limit() {
    assert!(answered(&probe().expect_body("\"ok\""), OK).await.is_ok());
    let said = answered(&probe().expect_body("up"), OK).await;
    assert_eq!(said, Err("the body is not what was expected".to_owned()));
    let limited = probe().expect_body("\"ok\"").body_limit(13);
    assert!(answered(&limited, OK).await.is_err());
    let just = probe().expect_body("\"ok\"").body_limit(14);
    assert!(answered(&just, OK).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_endless_body_is_read_up_to_the_limit() {
    let endless = Scripted::new(|mut far| async move {
        far.request().await;
        far.write(b"HTTP/1.1 200 OK\r\n\r\n").await;
        far.write(&[b'x'; 500_000]).await;
        far.hang().await;
    });
    assert!(outcome(&probe().expect_body("xx"), endless).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_an_incomplete_response() {
    let cut = Scripted::responding("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok");
    let broken = failure(&probe().expect_body("ok"), cut).await;
    assert!(
        matches!(broken, ProbeFailure::IncompleteResponse(_)),
        "{broken:?}"
    );
}

#[cfg(feature = "regex")]
#[tokio::test(start_paused = true)]
async fn the_body_may_be_expected_by_expression() {
    let right = probe().expect_body_match(r#""status":\s*"ok""#).unwrap();
    assert!(answered(&right, OK).await.is_ok());
    let wrong = probe().expect_body_match("^ok").unwrap();
    assert!(answered(&wrong, OK).await.is_err());
}

/// Connector that records the address and the head of one request.
#[derive(Clone, Debug, Default)]
struct Recording(Arc<Mutex<(String, String)>>);

impl Connect for Recording {
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a> {
        self.0.lock().unwrap().0 = address.to_string();
        let log = Arc::clone(&self.0);
        let upstream = Scripted::new(move |mut far| {
            let log = Arc::clone(&log);
            async move {
                let head = far.request().await;
                log.lock().unwrap().1 = head;
                far.write(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        });
        Box::pin(async move { upstream.connect(address).await })
    }
}

#[tokio::test(start_paused = true)]
async fn the_request_is_as_set() {
    let recording = Recording::default();
    let edits = HeaderEdits::new().set("x-probe", "1").unwrap();
    let probe = HttpProbe::get("/health?deep")
        .method(Method::HEAD)
        .port(9090)
        .headers(edits);
    let connector = Arc::new(recording.clone());
    assert_eq!(outcome(&probe, connector).await, Ok(()));
    let (address, head) = recording.0.lock().unwrap().clone();
    assert_eq!(address, "upstream:9090");
    assert!(head.starts_with("HEAD /health?deep HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), Some("upstream:9090"));
    assert_eq!(header(&head, "x-probe"), Some("1"));
    assert_eq!(header(&head, "connection"), Some("close"));
}

#[test]
fn another_port_of_a_tls_upstream_has_tls_too() {
    let asked = probe().port(9090).address(&Address::tls("upstream", 443));
    assert_eq!(asked, Address::tls("upstream", 9090));
    let found = Address::tls_with_server_name("chat.test", "10.0.0.1", 443);
    let asked = probe().port(9090).address(&found);
    assert_eq!(
        asked,
        Address::tls_with_server_name("chat.test", "10.0.0.1", 9090)
    );
}

#[tokio::test(start_paused = true)]
async fn tcp_passes_for_every_upstream_that_accepts() {
    let hanging = Scripted::new(UpstreamEnd::hang);
    assert_eq!(outcome(&TcpProbe::new(), hanging).await, Ok(()));
    let refusing = Arc::new(Refusing(std::io::ErrorKind::ConnectionRefused));
    let said = outcome(&TcpProbe::new(), refusing).await.unwrap_err();
    assert!(
        said.starts_with("the upstream could not be connected"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_closure_is_a_probe_and_names_its_steps() {
    let named = probe_fn(|target: ProbeTarget| async move {
        let _transport = target.connect().await?;
        target.step("greeting");
        std::future::pending().await
    });
    let said = outcome(&named, Scripted::new(UpstreamEnd::hang)).await;
    assert_eq!(said, Err("greeting timed out after 5s".to_owned()));
    let unnamed = probe_fn(|target: ProbeTarget| async move {
        let _transport = target.connect().await?;
        std::future::pending().await
    });
    let said = outcome(&unnamed, Scripted::new(UpstreamEnd::hang)).await;
    assert_eq!(said, Err("probe timed out after 5s".to_owned()));
    let sad = probe_fn(|_| async { Err(ProbeFailure::other("queue is full")) });
    let said = outcome(&sad, Scripted::new(UpstreamEnd::hang)).await;
    assert_eq!(said, Err("queue is full".to_owned()));
}
