//! The service, asked in memory as a server would ask it.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, DuplexStream, duplex},
    task::JoinSet,
    time::timeout,
};
use tower::ServiceExt;
use wsplice::{
    Observer, Pool, Registry, TunnelInfo, TunnelReport,
    connect::Transport,
    health::HealthControl,
    pool::OnUpstreamLoss,
    tunnel::{Side, Tunnel, TunnelEnd, registry::by_key},
};
use wsplice_status::{Status, StatusBody, StatusService};

async fn send(service: &StatusService, request: Request<Full<Bytes>>) -> Response<StatusBody> {
    service.clone().oneshot(request).await.unwrap()
}

async fn get(service: &StatusService, target: &str) -> Response<StatusBody> {
    let request = Request::get(target).header("host", "127.0.0.1:9000");
    send(service, request.body(Full::default()).unwrap()).await
}

async fn post(service: &StatusService, action: &Value) -> (StatusCode, String) {
    let request = Request::post("/")
        .header("host", "127.0.0.1:9000")
        .header("content-type", "application/json")
        .body(Full::from(action.to_string()))
        .unwrap();
    let response = send(service, request).await;
    (response.status(), text(response).await)
}

async fn text(response: Response<StatusBody>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

async fn json(service: &StatusService, target: &str) -> Value {
    let response = get(service, target).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    serde_json::from_str(&text(response).await).unwrap()
}

/// A tunnel that is open as long as this lives.
struct Open {
    _tunnel: Tunnel,
    _far: [DuplexStream; 2],
}

fn open(registry: &Registry, info: TunnelInfo) -> Open {
    let (client, far_client) = duplex(64);
    let (upstream, far_upstream) = duplex(64);
    let legs = (Transport::new(client), Transport::new(upstream));
    Open {
        _tunnel: Tunnel::builder(legs.0, legs.1)
            .registry(registry, info)
            .build(),
        _far: [far_client, far_upstream],
    }
}

fn pool() -> Pool {
    Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])
        .unwrap()
        .build()
}

#[tokio::test]
async fn pools_tunnels_and_ends_are_on_the_page_and_in_the_document() {
    let (pool, registry) = (pool(), Registry::new());
    let status = Status::new().pool_as("chat", &pool).registry(&registry);
    let mut info = TunnelInfo::new("10.0.0.1:8080", "/chat/room");
    info.client = Some(([192, 0, 2, 7], 50_000).into());
    let _open = open(&registry, info.clone());
    let report = TunnelReport::new(
        TunnelEnd::ClosedWithoutFrame(Side::Upstream),
        Side::Upstream,
    );
    status
        .observer()
        .tunnel_closed(&TunnelInfo::new("10.0.0.2:8080", "/old"), &report);
    let service = status.into_service();

    let page = text(get(&service, "/").await).await;
    for part in [
        "Pool chat",
        "10.0.0.1:8080",
        "10.0.0.2:8080",
        "2 of 2",
        "/chat/room",
        "192.0.2.7:50000",
        "/old",
        "the upstream ended without a close frame",
    ] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
    assert!(
        !page.contains("data-action"),
        "no actions without permission"
    );

    let document = json(&service, "/?view=json").await;
    assert_eq!(document["version"], 1);
    assert_eq!(document["pools"][0]["upstreams"][1]["state"], "healthy");
    assert_eq!(document["tunnels"]["rows"][0]["path"], "/chat/room");
    assert_eq!(document["ends"]["recent"][0]["initiator"], "upstream");
    assert_eq!(json(&service, "/anywhere/status.json").await["version"], 1);
}

#[tokio::test]
async fn hostile_names_paths_and_causes_are_shown_as_text() {
    const HOSTILE: &str = "/\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\u{202e}";
    let (pool, registry) = (pool(), Registry::new());
    let status = Status::new()
        .pool_as(HOSTILE, &pool)
        .registry(&registry)
        .allow_actions();
    let _open = open(&registry, TunnelInfo::new(HOSTILE, HOSTILE));
    let report = TunnelReport::new(TunnelEnd::Closed, Side::Client);
    status
        .observer()
        .tunnel_closed(&TunnelInfo::new(HOSTILE, HOSTILE), &report);
    let service = status.into_service();

    let search: String = form_urlencoded::byte_serialize("<script>".as_bytes()).collect();
    for target in ["/".to_owned(), format!("/?q={search}")] {
        let page = text(get(&service, &target).await).await;
        assert!(page.contains("&lt;script&gt;"), "{target}: {page}");
        let tags = page.matches("<script").count();
        assert_eq!(tags, 1, "{target}: only the page's own script");
        assert!(!page.contains("<img") && !page.contains("/\"'"), "{target}");
    }
}

#[tokio::test]
async fn the_newest_two_hundred_tunnels_are_shown_and_a_search_finds_the_others() {
    let registry = Registry::new();
    let status = Status::new().registry(&registry);
    let mut tunnels = Vec::new();
    for number in 0..300 {
        let path = format!("/Room/{number:03}");
        tunnels.push(open(&registry, TunnelInfo::new("10.0.0.1", path)));
    }
    let service = status.into_service();

    let document = json(&service, "/?view=json").await;
    assert_eq!(document["tunnels"]["open"], 300);
    let rows = document["tunnels"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 200);
    assert_eq!(rows[0]["path"], "/Room/299");
    let document = json(&service, "/?view=json&q=room%2F00").await;
    assert_eq!(document["tunnels"]["found"], 10);
    let page = text(get(&service, "/").await).await;
    assert!(page.contains("The newest 200 are shown"));
}

#[tokio::test(start_paused = true)]
async fn a_drain_shows_within_the_events_of_an_open_page() {
    let registry = Registry::new();
    let _open = open(&registry, TunnelInfo::new("10.0.0.1", "/"));
    let service = Status::new().registry(&registry).into_service();
    let response = get(&service, "/?view=events").await;
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    let mut events = response.into_body();
    let mut next = async || {
        let frame = events.frame().await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    };
    assert!(!next().await.contains("Draining."));
    wsplice::Drain::new(&registry).refuse_new();
    let event = next().await;
    assert!(event.contains("Draining."), "{event}");
    assert!(event.contains("1 is still open."), "{event}");
}

#[tokio::test]
async fn a_host_that_the_page_is_not_known_by_sees_nothing() {
    let service = Status::new().host_name("admin.example.com").into_service();
    for (host, status) in [
        ("admin.example.com", StatusCode::OK),
        ("localhost:9000", StatusCode::OK),
        ("rebound.example", StatusCode::MISDIRECTED_REQUEST),
    ] {
        let request = Request::get("/").header("host", host);
        let response = send(&service, request.body(Full::default()).unwrap()).await;
        assert_eq!(response.status(), status, "{host}");
    }
}

#[tokio::test]
async fn the_policy_allows_the_pages_own_style_and_script_alone() {
    let service = Status::new().into_service();
    let page = get(&service, "/").await;
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap();
    assert!(policy.starts_with("default-src 'none';"));
    assert!(!policy.contains("unsafe") && !policy.contains("http"));
    let page = text(page).await;
    assert!(!page.contains("style=") && !page.contains("<style") && !page.contains("onclick"));
    for (view, kind) in [("style", "text/css"), ("script", "text/javascript")] {
        let asset = get(&service, &format!("/?view={view}")).await;
        let content_type = asset.headers()[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(content_type.starts_with(kind), "{content_type}");
        let asset = text(asset).await;
        for mark in [
            "@import",
            "url(",
            "http://",
            "https://",
            "eval(",
            "innerHTML",
        ] {
            assert!(!asset.contains(mark), "{view}: {mark}");
        }
    }
}

#[tokio::test]
async fn actions_are_refused_unless_the_host_allows_them() {
    let service = Status::new().pool_as("chat", &pool()).into_service();
    let action = json!({"action": "drain_upstream", "pool": "chat", "upstream": "x"});
    assert_eq!(post(&service, &action).await.0, StatusCode::FORBIDDEN);
    let request = Request::builder().method(Method::DELETE).uri("/");
    let request = request
        .header("host", "localhost")
        .body(Full::default())
        .unwrap();
    let response = send(&service, request).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[header::ALLOW], "GET, HEAD, POST");
}

#[tokio::test]
async fn an_upstream_is_drained_and_resumed_by_actions() {
    let pool = pool();
    let service = Status::new()
        .pool_as("chat", &pool)
        .allow_actions()
        .into_service();
    let act = async |action: &str, upstream: &str| {
        post(
            &service,
            &json!({"action": action, "pool": "chat", "upstream": upstream}),
        )
        .await
    };
    let first = "10.0.0.1:8080";
    assert_eq!(act("drain_upstream", first).await.0, StatusCode::NO_CONTENT);
    assert!(pool.snapshot()[0].draining.is_some());
    let page = text(get(&service, "/").await).await;
    assert!(
        page.contains("draining") && page.contains("Resume"),
        "{page}"
    );
    assert_eq!(
        act("resume_upstream", first).await.0,
        StatusCode::NO_CONTENT
    );
    assert!(pool.snapshot()[0].draining.is_none());
    assert_eq!(
        act("drain_upstream", "ws://elsewhere").await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_health_of_an_upstream_is_forced_and_left_to_events_again() {
    let pool = pool();
    let service = Status::new()
        .pool_as("chat", &pool)
        .allow_actions()
        .into_service();
    let control = async |control: &str| {
        let action = json!({
            "action": "control_health", "pool": "chat", "upstream": "10.0.0.1:8080",
            "control": control,
        });
        assert_eq!(post(&service, &action).await.0, StatusCode::NO_CONTENT);
        let page = text(get(&service, "/").await).await;
        let document = json(&service, "/?view=json").await;
        (page, document["pools"][0]["upstreams"][0].clone())
    };
    let (page, upstream) = control("forced_unhealthy").await;
    assert!(page.contains("by the operator") && page.contains("Stop forcing"));
    assert_eq!(upstream["control"], "forced_unhealthy");
    assert_eq!(upstream["used"], false);
    assert!(!pool.snapshot()[0].is_used);
    let (page, upstream) = control("auto").await;
    assert!(!page.contains("by the operator"));
    assert_eq!(upstream["control"], "auto");
    assert!(pool.snapshot()[0].is_used);
}

/// A tunnel that runs until its client's end, which this is, is dropped.
struct Running {
    client: DuplexStream,
    _upstream: DuplexStream,
    _task: JoinSet<TunnelReport>,
}

impl Running {
    fn start(registry: &Registry, info: TunnelInfo) -> Self {
        let (client, far_client) = duplex(64);
        let (upstream, far_upstream) = duplex(64);
        let tunnel = Tunnel::builder(Transport::new(client), Transport::new(upstream))
            .registry(registry, info)
            .build();
        let mut task = JoinSet::new();
        task.spawn(tunnel);
        Self {
            client: far_client,
            _upstream: far_upstream,
            _task: task,
        }
    }

    async fn expect(&mut self, expected: &[u8]) {
        let mut frame = vec![0; expected.len()];
        timeout(Duration::from_secs(10), self.client.read_exact(&mut frame))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(frame, expected);
    }
}

#[tokio::test]
async fn a_tunnel_is_closed_with_the_code_of_the_action() {
    let registry = Registry::new();
    let service = Status::new()
        .registry(&registry)
        .allow_actions()
        .into_service();
    let mut tunnel = Running::start(&registry, TunnelInfo::new("10.0.0.1", "/"));
    let id = registry.list()[0].info.id;
    let action = json!({"action": "close_tunnel", "id": id, "code": 1008, "reason": "abuse"});
    assert_eq!(post(&service, &action).await.0, StatusCode::NO_CONTENT);
    tunnel.expect(b"\x88\x07\x03\xf0abuse").await;
}

#[tokio::test]
async fn the_tunnels_of_a_key_are_closed_in_every_registry() {
    let registries = [Registry::new(), Registry::new()];
    let service = Status::new()
        .registry(&registries[0])
        .registry(&registries[1])
        .allow_actions()
        .into_service();
    let start = |registry, key: &str| {
        let mut info = TunnelInfo::new("10.0.0.1", "/");
        info.set_key(key);
        Running::start(registry, info)
    };
    let alice = registries.each_ref().map(|it| start(it, "alice"));
    let _bob = start(&registries[0], "bob");
    let page = text(get(&service, "/").await).await;
    let label = r#"aria-label="Close all tunnels of alice""#;
    assert!(page.contains(label), "{page}");

    let action = json!({"action": "close_key", "key": "alice", "code": 1008, "reason": "logout"});
    assert_eq!(post(&service, &action).await.0, StatusCode::NO_CONTENT);
    for mut tunnel in alice {
        tunnel.expect(b"\x88\x08\x03\xf0logout").await;
    }
    assert_eq!(registries[0].count_where(by_key("bob")), 1);
}

/// Users of speech input say the words that they see (WCAG 2.1, 2.5.3).
#[tokio::test]
async fn the_accessible_name_of_a_button_contains_its_words() {
    let (pool, registry) = (pool(), Registry::new());
    pool.drain("10.0.0.1:8080", OnUpstreamLoss::Leave);
    pool.control_health("10.0.0.2:8080", HealthControl::ForcedUnhealthy);
    let mut info = TunnelInfo::new("10.0.0.2:8080", "/");
    info.set_key("alice");
    let _open = open(&registry, info);
    let status = Status::new().pool(&pool).registry(&registry);
    let service = status.allow_actions().into_service();
    let page = text(get(&service, "/").await).await;
    let mut all_words = Vec::new();
    for button in page.split("<button type=\"button\" data-action").skip(1) {
        let (_, name) = button.split_once("aria-label=\"").unwrap();
        let (name, rest) = name.split_once('"').unwrap();
        let (_, words) = rest.split_once('>').unwrap();
        let (words, _) = words.split_once("</button>").unwrap();
        assert!(name.contains(words), "“{words}” in “{name}”");
        all_words.push(words);
    }
    all_words.sort_unstable();
    let expected = [
        "Close",
        "Close all",
        "Drain",
        "Force unhealthy",
        "Resume",
        "Stop forcing",
    ];
    assert_eq!(all_words, expected);
}

#[tokio::test]
async fn an_action_that_cannot_be_done_says_why() {
    let registry = Registry::new();
    let service = Status::new()
        .registry(&registry)
        .allow_actions()
        .into_service();
    for (action, status, reason) in [
        (
            json!({"action": "close_tunnel", "id": 9}),
            404,
            "no such tunnel",
        ),
        (
            json!({"action": "close_tunnel", "id": 9, "registry": 4}),
            404,
            "no such registry",
        ),
        (
            json!({"action": "close_tunnel", "id": 9, "code": 1005}),
            400,
            "this close code cannot be sent",
        ),
        (
            json!({"action": "close_key", "key": "carol"}),
            404,
            "no tunnel has this key",
        ),
        (
            json!({"action": "resume_upstream", "pool": "a", "upstream": "b"}),
            404,
            "no such pool",
        ),
        (
            json!({"action": "control_health", "pool": "a", "upstream": "b", "control": "auto"}),
            404,
            "no such pool",
        ),
    ] {
        let (got, text) = post(&service, &action).await;
        assert_eq!((got.as_u16(), &*text), (status, reason), "{action}");
    }
    let (status, text) = post(&service, &json!({"action": "explode"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("unknown variant `explode`"), "{text}");
}
