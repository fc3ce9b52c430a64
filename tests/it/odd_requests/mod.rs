//! 10,000 legal requests as no client writes them: each reaches the upstream unchanged, except for
//! what the documentation names.

mod generator;

use std::{collections::BTreeMap, ops::Range};

use tokio::task::JoinSet;
use wsplice::{ForwardHttp, Pool, ProxyLayer};

use self::generator::{Generator, OddRequest};
use crate::support::{
    frames,
    head::Head,
    raw::RawClient,
    serve::serve_auto,
    upstream::{RawConn, RawUpstream, switching_protocols},
};

const REQUESTS: u64 = 10_000;
const PART: u64 = REQUESTS / 4;
const CLIENTS: usize = 8;

/// Headers that the proxy itself writes, or keeps to its connections.
const MANAGED: [&str; 9] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "keep-alive",
    "host",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
];

/// The values of every header, in the order of their lines.
type Headers = BTreeMap<String, Vec<Vec<u8>>>;

/// A test for each part, so that none takes long on a busy machine.
macro_rules! parts {
    ($($name:ident: $part:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                reach_the_upstream_unchanged($part * PART..($part + 1) * PART).await;
            }
        )*
    };
}

parts! {
    odd_requests_reach_the_upstream_unchanged_first_part: 0,
    odd_requests_reach_the_upstream_unchanged_second_part: 1,
    odd_requests_reach_the_upstream_unchanged_third_part: 2,
    odd_requests_reach_the_upstream_unchanged_fourth_part: 3,
}

/// Sends the requests of these seeds.
async fn reach_the_upstream_unchanged(seeds: Range<u64>) {
    let upstream = RawUpstream::start(mirror).await;
    let layer = ProxyLayer::new(Pool::new([upstream.url()]).unwrap());
    let service = layer.forward_http(ForwardHttp::new()).into_service();
    let server = serve_auto(service).await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let addr = server.addr();
        let seeds = seeds.clone().skip(client).step_by(CLIENTS);
        clients.spawn(async move {
            let mut connection = RawClient::connect(addr).await;
            for seed in seeds {
                let request = Generator::new(seed).request();
                if !check(&mut connection, &request, seed).await {
                    connection = RawClient::connect(addr).await;
                }
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("every request to pass");
    }
}

/// Responds to each request with its own bytes: the head, and the content of its body.
async fn mirror(mut conn: RawConn) {
    while let Ok(Some(head)) = conn.try_read_head().await {
        if head.get("upgrade").is_some() {
            let accepted = switching_protocols(&head, &[]);
            let image = frames::unmasked(frames::binary(&head.raw));
            let _ = conn.try_send(&[accepted, image].concat()).await;
            let _ = conn.try_read_some().await;
            return;
        }
        let body = read_body(&mut conn, &head).await;
        let length = head.raw.len() + body.len();
        let start = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let content = match head.method() {
            "HEAD" => Vec::new(),
            _ => [&head.raw[..], &body].concat(),
        };
        let response = [start.as_bytes(), &content].concat();
        if conn.try_send(&response).await.is_err() {
            return;
        }
    }
}

async fn read_body(conn: &mut RawConn, head: &Head) -> Vec<u8> {
    let mut body = Vec::new();
    if head.get("transfer-encoding").is_some() {
        loop {
            let chunk = conn.read_chunk().await;
            if chunk.is_empty() {
                conn.read_trailers().await;
                return body;
            }
            body.extend_from_slice(&chunk);
        }
    }
    if let Some(length) = head.get("content-length") {
        body = conn.read_exact(length.parse().unwrap()).await.to_vec();
    }
    body
}

/// Sends the request, and compares it with its mirror image. Returns whether the connection can be
/// used on.
async fn check(connection: &mut RawClient, request: &OddRequest, seed: u64) -> bool {
    connection.send(&request.bytes).await;
    let head = connection.read_head().await;
    let shown = String::from_utf8_lossy(&request.bytes);
    if request.is_handshake {
        assert_eq!(head.status(), 101, "seed {seed}: {shown}");
        let frame = frames::read_frame(connection).await;
        compare(request, &frame.payload, seed);
        return false;
    }
    assert_eq!(head.status(), 200, "seed {seed}: {shown}");
    if request.method == "HEAD" {
        return request.is_persistent;
    }
    let seen = connection.read_body(&head).await;
    compare(request, &seen, seed);
    request.is_persistent
}

fn compare(request: &OddRequest, seen: &[u8], seed: u64) {
    let shown = String::from_utf8_lossy(&request.bytes);
    let end = seen
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let mut lines = seen[..end].split(|byte| *byte == b'\n');
    let start = lines.next().unwrap().trim_ascii_end();
    let wanted = format!("{} {} HTTP/1.1", request.method, request.forwarded_target);
    assert_eq!(
        String::from_utf8_lossy(start),
        wanted,
        "seed {seed}: {shown}"
    );
    assert_eq!(seen[end + 4..], request.body, "seed {seed}: {shown}");
    let mut headers = Headers::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap();
        let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
        let value = line[colon + 1..].trim_ascii().to_vec();
        headers.entry(name).or_default().push(value);
    }
    assert_eq!(headers["host"], [b"app.test"], "seed {seed}: {shown}");
    headers.retain(|name, _| !MANAGED.contains(&&**name));
    let mut wanted = Headers::new();
    for (name, value) in &request.kept {
        let name = name.to_ascii_lowercase();
        wanted.entry(name).or_default().push(value.clone());
    }
    assert_eq!(headers, wanted, "seed {seed}: {shown}");
}
