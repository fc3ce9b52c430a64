//! The source of upstreams against an API server of the test: list, watch, bookmark, 410 Gone,
//! disconnect, resync.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{Request, Response},
};
use kube::Client;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};
use tower::service_fn;
use wsplice::{
    Pool, Upstream,
    discovery::{ChangeSource, Discover},
};
use wsplice_kubernetes::Service;

/// API server with the EndpointSlices of one namespace.
#[derive(Clone, Default)]
struct ApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    version: u64,
    slices: BTreeMap<&'static str, Value>,
    watch: Option<mpsc::UnboundedSender<Result<Bytes, Infallible>>>,
    /// `list`, or `watch` and the version from which it begins.
    requests: Vec<String>,
    /// Requests get this status.
    failure: Option<u16>,
}

impl ApiServer {
    fn client(&self) -> Client {
        let server = self.clone();
        let respond = move |request: Request<kube::client::Body>| {
            let response = server.respond(&request);
            async move { Ok::<_, Infallible>(response) }
        };
        Client::new(service_fn(respond), "default")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn respond(&self, request: &Request<kube::client::Body>) -> Response<Body> {
        let mut state = self.state();
        let path = request.uri().path();
        assert_eq!(
            path,
            "/apis/discovery.k8s.io/v1/namespaces/chat/endpointslices"
        );
        let query = request.uri().query().unwrap_or_default();
        assert!(
            query.contains("labelSelector=kubernetes.io%2Fservice-name%3Dchat"),
            "{query}"
        );
        if let Some(code) = state.failure {
            state.requests.push("failed".to_owned());
            let status = json!({ "kind": "Status", "status": "Failure", "code": code, "message": "broken", "reason": "Broken" });
            return Response::builder()
                .status(code)
                .body(status.to_string().into())
                .unwrap();
        }
        if !query.contains("watch=true") {
            state.requests.push("list".to_owned());
            let list = json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList",
                "metadata": { "resourceVersion": state.version.to_string() },
                "items": state.slices.values().collect::<Vec<_>>(),
            });
            return Response::new(list.to_string().into());
        }
        let version = query
            .split('&')
            .find_map(|it| it.strip_prefix("resourceVersion="));
        state
            .requests
            .push(format!("watch {}", version.unwrap_or_default()));
        let (sender, receiver) = mpsc::unbounded_channel();
        state.watch = Some(sender);
        let events = futures_util::stream::unfold(receiver, async |mut receiver| {
            Some((receiver.recv().await?, receiver))
        });
        Response::new(Body::from_stream(events))
    }

    /// Adds or changes a slice, without an event.
    fn set(&self, name: &'static str, endpoints: &[Value]) -> Value {
        let mut state = self.state();
        state.version += 1;
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": name, "namespace": "chat", "resourceVersion": state.version.to_string(),
                "labels": { "kubernetes.io/service-name": "chat" },
            },
            "addressType": if name.ends_with("-v6") { "IPv6" } else { "IPv4" },
            "ports": [{ "name": "metrics", "port": 9090 }, { "name": "ws", "port": 8080 }],
            "endpoints": endpoints,
        });
        state.slices.insert(name, slice.clone());
        slice
    }

    fn apply(&self, name: &'static str, endpoints: &[Value]) {
        let slice = self.set(name, endpoints);
        self.send("MODIFIED", &slice);
    }

    fn delete(&self, name: &str) {
        let mut slice = self.state().slices.remove(name).unwrap();
        self.state().version += 1;
        slice["metadata"]["resourceVersion"] = self.state().version.to_string().into();
        self.send("DELETED", &slice);
    }

    /// Sends an event on the current watch.
    fn send(&self, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({ "type": kind, "object": object }));
        let watch = self.state().watch.clone().expect("a watch");
        watch.send(Ok(line.into())).unwrap();
    }

    fn gone(&self) {
        self.send("ERROR", &json!({ "kind": "Status", "status": "Failure", "code": 410, "message": "too old", "reason": "Expired" }));
        self.disconnect();
    }

    /// Ends the current watch.
    fn disconnect(&self) {
        self.state().watch = None;
    }

    async fn until_watched(&self) {
        let watched = async {
            while self.state().watch.is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(120), watched)
            .await
            .expect("a watch");
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }
}

fn pod(ip: &str) -> Value {
    json!({ "addresses": [ip], "conditions": { "ready": true, "serving": true, "terminating": false } })
}

fn pod_that(ip: &str, ready: bool, serving: bool, terminating: bool) -> Value {
    json!({ "addresses": [ip], "conditions": { "ready": ready, "serving": serving, "terminating": terminating } })
}

fn source(server: &ApiServer) -> impl Discover + 'static {
    let service = Service {
        namespace: "chat".to_owned(),
        name: "chat".to_owned(),
        port: "ws".to_owned(),
    };
    ChangeSource::new(service.changes(server.client()))
}

async fn next(source: &mut impl Discover) -> Result<Vec<Upstream>, String> {
    let found = timeout(Duration::from_secs(120), source.discover()).await;
    let found = found.expect("a set").expect("no end");
    found.map_err(|error| format!("{error:#}"))
}

/// The last octets of the next set, and the test of their port.
async fn octets(source: &mut impl Discover) -> Vec<String> {
    let set = next(source).await.unwrap();
    let octet = |upstream: &Upstream| {
        let ip = upstream
            .name()
            .strip_suffix(":8080")
            .expect("the port of that name");
        ip.rsplit('.').next().unwrap().to_owned()
    };
    let mut octets: Vec<_> = set.iter().map(octet).collect();
    octets.sort();
    octets
}

#[tokio::test(start_paused = true)]
async fn slices_are_listed_then_watched() {
    let server = ApiServer::default();
    server.set("chat-1", &[pod("10.0.0.1")]);
    server.set("chat-2", &[pod("10.0.0.2")]);
    let mut source = source(&server);
    assert_eq!(octets(&mut source).await, ["1", "2"]);
    let watching = async {
        server.until_watched().await;
        server.apply("chat-2", &[pod("10.0.0.2"), pod("10.0.0.3")]);
    };
    let (found, ()) = tokio::join!(octets(&mut source), watching);
    assert_eq!(found, ["1", "2", "3"]);
    // While it moves, an endpoint is in two slices.
    server.apply(
        "chat-1",
        &[pod("10.0.0.1"), pod("10.0.0.3"), pod("10.0.0.4")],
    );
    assert_eq!(octets(&mut source).await, ["1", "2", "3", "4"]);
    server.apply("chat-2", &[pod("10.0.0.2")]);
    server.delete("chat-2");
    assert_eq!(octets(&mut source).await, ["1", "3", "4"]);
    assert_eq!(server.requests(), ["list", "watch 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_without_endpoints_is_an_empty_pool_that_is_ready() {
    let server = ApiServer::default();
    server.set("chat-1", &[]);
    let pool = Pool::from_upstreams([Upstream::new("ws://10.0.0.9:8080").unwrap()]).build();
    let following = pool.follow(source(&server));
    following.ready(Duration::from_secs(60)).await.unwrap();
    assert!(pool.is_empty());
    server.until_watched().await;
    server.apply("chat-1", &[pod("10.0.0.1")]);
    while pool.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_breaks_off_is_resumed_at_the_last_bookmark() {
    let server = ApiServer::default();
    server.set("chat-1", &[pod("10.0.0.1")]);
    let mut source = source(&server);
    assert_eq!(octets(&mut source).await, ["1"]);
    let breaking = async {
        server.until_watched().await;
        server.send(
            "BOOKMARK",
            &json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": { "resourceVersion": "77", "creationTimestamp": null },
            }),
        );
        server.disconnect();
        server.until_watched().await;
        server.apply("chat-1", &[pod("10.0.0.2")]);
    };
    let (found, ()) = tokio::join!(octets(&mut source), breaking);
    assert_eq!(found, ["2"]);
    assert_eq!(server.requests(), ["list", "watch 1", "watch 77"]);
}

#[tokio::test(start_paused = true)]
async fn after_410_gone_the_new_list_replaces_all_and_the_old_one_serves_meanwhile() {
    let server = ApiServer::default();
    server.set("chat-1", &[pod("10.0.0.1"), pod("10.0.0.2")]);
    let mut source = source(&server);
    assert_eq!(octets(&mut source).await, ["1", "2"]);
    let gap = async {
        server.until_watched().await;
        // The watch never reports the end of this slice.
        server.state().slices.clear();
        server.set("chat-9", &[pod("10.0.0.2"), pod("10.0.0.3")]);
        server.gone();
    };
    let (failure, ()) = tokio::join!(next(&mut source), gap);
    assert!(
        failure
            .as_ref()
            .is_err_and(|error| error.contains("too old")),
        "{failure:?}"
    );
    assert_eq!(octets(&mut source).await, ["2", "3"]);
    let requests = server.requests();
    assert_eq!(requests[..3], ["list", "watch 1", "list"], "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_reported_and_asked_again() {
    let server = ApiServer::default();
    server.set("chat-1", &[pod("10.0.0.1")]);
    server.state().failure = Some(403);
    let mut source = source(&server);
    let failure = next(&mut source).await;
    assert!(
        failure
            .as_ref()
            .is_err_and(|error| error.contains("broken")),
        "{failure:?}"
    );
    next(&mut source).await.unwrap_err();
    server.state().failure = None;
    assert_eq!(octets(&mut source).await, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_are_ready_are_used_and_without_any_those_that_still_serve() {
    let server = ApiServer::default();
    server.set(
        "chat-1",
        &[
            pod("10.0.0.1"),
            pod_that("10.0.0.2", false, true, true),
            pod_that("10.0.0.3", false, false, false),
            json!({ "addresses": ["10.0.0.4"] }),
        ],
    );
    // Each pod has an address of the other family too.
    server.set("chat-v6", &[pod("fd00::1")]);
    let mut source = source(&server);
    assert_eq!(octets(&mut source).await, ["1", "4"], "unknown means ready");
    let rollout = async {
        server.until_watched().await;
        server.apply(
            "chat-1",
            &[
                pod_that("10.0.0.1", false, true, true),
                pod_that("10.0.0.3", false, false, false),
                pod_that("10.0.0.4", false, false, true),
            ],
        );
    };
    let (found, ()) = tokio::join!(octets(&mut source), rollout);
    assert_eq!(found, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn the_zone_is_a_tag() {
    let server = ApiServer::default();
    let mut endpoint = pod("10.0.0.1");
    endpoint["zone"] = "eu-1a".into();
    server.set("chat-1", &[endpoint]);
    let found = next(&mut source(&server)).await.unwrap();
    assert_eq!(found[0].tag_value("zone"), Some("eu-1a"));
}
