//! Logs: nothing that a peer sends reaches them unescaped, whatever field it is in.

use std::{
    fmt,
    sync::{Arc, Mutex, Once, PoisonError},
    time::Duration,
};

use http::StatusCode;
use tokio::sync::watch;
use tracing::{
    Event, Subscriber,
    field::{Empty, Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer, Registry, filter::LevelFilter, layer::Context, prelude::*, registry::LookupSpan,
};
use wsplice::{
    ForwardHttp, KeyLimit, Pool, ProxyLayer, RequestOptions, Upstream,
    discovery::{DiscoverError, PollSource},
    headers::ClientInfo,
    health::probe::{ProbeFailure, ProbeSchedule, probe_fn},
    matcher::same_origin,
};

use crate::support::{
    deadline::within,
    frames,
    raw::{RawClient, handshake_request},
    scripts::{self, Then},
    serve::{Server, serve_hyper},
    upstream::RawUpstream,
};

/// C0 and C1 controls, quotes, spaces and ANSI sequences, as far as a header may contain them.
const HOSTILE: &str = "a\u{9b}31m\u{85}b\u{9d}0;t\u{9c} \"x\" level=ERROR\tpath=/ok\\";

/// The same with those that no header may contain.
const WORSE: &str = "\u{1b}[2J\r\n2026-01-01 ERROR forged \u{7}\u{7f}\u{9b}31m\u{202e}\"x\" y=z";

/// Every value that was logged, and the message, as the subscriber gets them.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<(String, String)>>>);

impl Captured {
    fn push(&self, field: &Field, value: String) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.push((field.name().to_owned(), value));
    }

    /// Returns the values, and expects them to have nothing that a terminal or a reader of lines
    /// understands otherwise.
    pub(crate) fn checked(&self) -> Vec<(String, String)> {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (field, value) in values.iter() {
            let is_hostile = |c: char| c.is_control() || c == '\u{202e}';
            assert!(!value.contains(is_hostile), "{field} = {value:?}");
            let is_quoted = value.starts_with('"') && value.ends_with('"');
            let is_open = value.contains("level=") || value.contains("forged");
            assert!(is_quoted || !is_open, "{field} = {value:?}");
        }
        values.clone()
    }
}

impl Captured {
    pub(crate) fn messages(&self) -> Vec<String> {
        let values = self.checked().into_iter();
        let messages = values.filter(|(field, _)| field == "message");
        messages.map(|(_, value)| value).collect()
    }
}

impl Visit for Captured {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Captured {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        if attributes.metadata().target().starts_with("wsplice") {
            attributes.record(&mut self.clone());
        }
    }

    fn on_record(&self, _: &span::Id, values: &span::Record<'_>, _: Context<'_, S>) {
        values.record(&mut self.clone());
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("wsplice") {
            event.record(&mut self.clone());
        }
    }
}

/// Captures the logs of this thread, on which the whole test runs.
fn capture() -> (Captured, tracing::subscriber::DefaultGuard) {
    capture_from(LevelFilter::TRACE)
}

/// Captures the logs from this level on.
pub(crate) fn capture_from(level: LevelFilter) -> (Captured, tracing::subscriber::DefaultGuard) {
    // A callsite that is first reached by a thread without a subscriber is switched off for all of
    // them, unless there is one for every thread.
    static EVERYWHERE: Once = Once::new();
    EVERYWHERE.call_once(|| drop(tracing::subscriber::set_global_default(Registry::default())));
    let captured = Captured::default();
    let subscriber = Registry::default().with(captured.clone().with_filter(level));
    let guard = tracing::subscriber::set_default(subscriber);
    tracing::callsite::rebuild_interest_cache();
    (captured, guard)
}

async fn proxy(upstream: &RawUpstream) -> Server {
    let layer = ProxyLayer::new(Pool::new([upstream.url()]).unwrap())
        .protect_headers(["x-user".parse().unwrap()])
        .forward_http(ForwardHttp::new());
    serve_hyper(layer.into_service()).await
}

/// Sends a request, and reads the response if there is one.
async fn send(proxy: &Server, request: impl AsRef<[u8]>) -> RawClient {
    let mut client = RawClient::connect(proxy.addr()).await;
    client.send(request.as_ref()).await;
    let _ = client.try_read_head().await;
    client
}

fn requests() -> Vec<Vec<u8>> {
    let mut requests = vec![
        handshake_request(&format!("/\u{9b}31m\"{}", "%1b%0a"), &[]),
        "GET /\u{9b}31m\"?\u{85} HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "TRACE /\u{9b} HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        format!("GET /x HTTP/1.1\r\nHost: {HOSTILE}\r\n\r\n").into_bytes(),
        format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {HOSTILE}\r\n\r\n").into_bytes(),
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\u{9b}\u{1b}\r\n"
            .to_owned()
            .into_bytes(),
    ];
    for name in [
        "Host",
        "Connection",
        "Upgrade",
        "Origin",
        "Cookie",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "X-Forwarded-For",
        "Forwarded",
        "X-Other",
    ] {
        requests.push(handshake_request("/x", &[(name, HOSTILE)]));
    }
    let named = format!("Upgrade, x-user, {HOSTILE}");
    requests.push(handshake_request("/x", &[("Connection", &named)]));
    requests
}

fn responses() -> Vec<String> {
    let refused = |line: &str| format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n");
    vec![
        refused(&format!("403 {HOSTILE}")),
        refused(&format!("403 {WORSE}")),
        refused(&format!("200 OK\r\nX: {HOSTILE}")),
        refused(&format!("200 OK\r\nTransfer-Encoding: {HOSTILE}")),
        format!("HTTP/1.1 101 {HOSTILE}\r\nUpgrade: {HOSTILE}\r\n\r\n"),
        format!(
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: {HOSTILE}\r\n\r\n"
        ),
        WORSE.to_owned(),
    ]
}

#[tokio::test]
async fn a_limit_by_address_that_knows_no_address_is_logged_once() {
    let (captured, _guard) = capture_from(LevelFilter::WARN);
    let limit = KeyLimit::by_client_ip().max_tunnels(0);
    let layer = ProxyLayer::new(Pool::new(["ws://127.0.0.1:1"]).unwrap()).limit_by_key(limit);
    let proxy = serve_hyper(layer.into_service()).await;
    for _ in 0..2 {
        send(&proxy, handshake_request("/x", &[])).await;
    }
    let messages = captured.messages();
    let of_limits = messages
        .iter()
        .filter(|it| it.contains("is not limited by address"));
    assert_eq!(of_limits.count(), 1, "{messages:?}");
}

#[tokio::test]
async fn what_clients_and_upstreams_send_is_escaped_in_every_log() {
    let (captured, _guard) = capture();
    for response in responses() {
        let upstream = RawUpstream::start(scripts::fixed(response, Then::Close)).await;
        let proxy = proxy(&upstream).await;
        for request in requests() {
            send(&proxy, request).await;
        }
    }
    let values = captured.checked();
    for (field, part) in [
        ("url.path", "\\u{9b}31m"),
        ("error", "the Connection header names x-user"),
        ("error", "the Host header"),
        ("message", "handshake rejected"),
        ("message", "handshake failed"),
        ("message", "request failed"),
        ("message", "handshake refused by the upstream"),
    ] {
        let mut of_field = values.iter().filter(|(name, _)| name == field);
        assert!(
            of_field.any(|(_, value)| value.contains(part)),
            "{field}: {part}"
        );
    }
}

#[tokio::test]
async fn the_reason_of_a_close_is_escaped_in_every_log() {
    let (captured, _guard) = capture();
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxy = proxy(&upstream).await;
    let mut client = RawClient::open(proxy.addr(), "/\u{9b}31m").await;
    let close = frames::masked(frames::close(1000, WORSE));
    client.send(&close).await;
    client.fin().await;
    client.read_to_end().await;
    let logged = |values: &[(String, String)]| values.iter().any(|(_, v)| v == "tunnel closed");
    within("the end in the log", async {
        while !logged(&captured.checked()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Opens a tunnel and closes it in order, and waits for the line of its end.
async fn open_and_close(proxy: &Server, request: &[u8], captured: &Captured) {
    let mut client = send(proxy, request).await;
    client.send(&frames::masked(frames::close(1000, ""))).await;
    client.fin().await;
    client.read_to_end().await;
    within("the end in the log", async {
        while !captured.messages().contains(&"tunnel closed".to_owned()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_handshake_and_its_end_are_one_line_each_at_info() {
    let (captured, _guard) = capture_from(LevelFilter::INFO);
    let upstream = RawUpstream::start(scripts::echo()).await;
    let proxy = proxy(&upstream).await;
    open_and_close(&proxy, &handshake_request("/ws/x?token=1", &[]), &captured).await;
    assert_eq!(captured.messages(), ["handshake accepted", "tunnel closed"]);
    let values = captured.checked();
    let port = upstream.addr().port().to_string();
    for (field, expected) in [
        ("http.request.method", "GET"),
        ("url.path", "/ws/x"),
        ("network.protocol.version", "1.1"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
        ("http.response.status_code", "101"),
        ("wsplice.end", "closed"),
        ("wsplice.initiator", "client"),
        ("wsplice.close_code", "1000"),
    ] {
        let mut of_field = values.iter().filter(|(name, _)| name == field);
        assert!(of_field.any(|(_, value)| value == expected), "{field}");
    }
    let id = values.iter().find(|(name, _)| name == "wsplice.tunnel.id");
    assert!(id.is_some_and(|(_, id)| id.parse::<u64>().is_ok_and(|id| id > 0)));
    assert!(!values.iter().any(|(_, value)| value.contains("token")));
}

#[tokio::test]
async fn a_failed_handshake_is_one_line_at_info_with_its_type() {
    let (captured, _guard) = capture_from(LevelFilter::INFO);
    let response = "not HTTP\r\n\r\n".to_owned();
    let upstream = RawUpstream::start(scripts::fixed(response, Then::Close)).await;
    let proxy = proxy(&upstream).await;
    send(&proxy, handshake_request("/ws/x", &[])).await;
    assert_eq!(captured.messages(), ["handshake failed"]);
    let values = captured.checked();
    let is_type = |(name, value): &&(String, String)| name == "error.type" && value == "handshake";
    assert!(values.iter().any(|value| is_type(&value)), "{values:?}");
}

#[tokio::test]
async fn the_address_of_a_rejected_client_is_in_the_span() {
    let strange = [("origin", "https://evil.example")];
    let malformed = b"GET /ws/x HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n";
    let forwarded = b"GET /ws/x HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for (request, status) in [
        (handshake_request("/ws/x", &[]), "401"),
        (handshake_request("/ws/x", &strange), "403"),
        (malformed.to_vec(), "400"),
        (forwarded.to_vec(), "401"),
    ] {
        let (captured, _guard) = capture_from(LevelFilter::INFO);
        let layer = ProxyLayer::new(Pool::new(["ws://127.0.0.1:1"]).unwrap())
            .client_info(|_| Some(ClientInfo::new().with_peer(([203, 0, 113, 7], 4711).into())))
            .allow_origins(same_origin())
            .authorize(async |_| Err::<RequestOptions, _>(StatusCode::UNAUTHORIZED))
            .forward_http(ForwardHttp::new());
        let proxy = serve_hyper(layer.into_service()).await;
        send(&proxy, request).await;
        let values = captured.checked();
        for (field, wanted) in [
            ("client.address", "203.0.113.7"),
            ("http.response.status_code", status),
        ] {
            let mut of_field = values.iter().filter(|(name, _)| name == field);
            assert!(
                of_field.any(|(_, value)| value == wanted),
                "{field} in {values:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_span_of_a_handshake_can_be_the_hosts() {
    let (captured, _guard) = capture_from(LevelFilter::INFO);
    let upstream = RawUpstream::start(scripts::echo()).await;
    let layer = ProxyLayer::new(Pool::new([upstream.url()]).unwrap()).make_span(|head| {
        let parent = head.headers().get("traceparent");
        let parent = parent.and_then(|parent| parent.to_str().ok());
        tracing::info_span!(target: "wsplice", "socket", parent, "server.address" = Empty)
    });
    let proxy = serve_hyper(layer.into_service()).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = handshake_request("/ws/x", &[("traceparent", trace)]);
    open_and_close(&proxy, &request, &captured).await;
    let values = captured.checked();
    for (field, expected) in [("parent", trace), ("server.address", "127.0.0.1")] {
        let mut of_field = values.iter().filter(|(name, _)| name == field);
        assert!(of_field.any(|(_, value)| value == expected), "{field}");
    }
    assert_eq!(upstream.log().heads[0].get("traceparent"), Some(trace));
}

#[tokio::test(start_paused = true)]
async fn what_resolvers_and_probes_say_is_escaped_in_every_log() {
    let (captured, _guard) = capture();
    let (probed, mut probes) = watch::channel(0);
    let pool: Pool = Pool::new(["ws://127.0.0.1:9"])
        .unwrap()
        .probe(probe_fn(move |_| {
            probed.send_modify(|count| *count += 1);
            async { Err(ProbeFailure::other(WORSE)) }
        }))
        .probe_schedule(ProbeSchedule::every(Duration::from_secs(1)))
        .into();
    let _proxy = ProxyLayer::new(pool.clone()).into_service();
    let failures = probes.wait_for(|count| *count > 4);
    within("five probes", failures)
        .await
        .expect("the pool lives");
    let fails = || async { Err::<Vec<Upstream>, _>(DiscoverError::failed(WORSE)) };
    let source = pool.follow(PollSource::new(Duration::from_secs(1), fails));
    assert!(source.ready(Duration::from_secs(10)).await.is_err());
    let values = captured.checked();
    for message in ["upstream unhealthy", "upstreams cannot be found"] {
        assert!(
            values.iter().any(|(_, value)| value == message),
            "{message}"
        );
    }
}
