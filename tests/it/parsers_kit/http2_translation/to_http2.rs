//! From HTTP/1.1 to HTTP/2.

use std::collections::BTreeMap;

use h2::ext::Protocol;
use http::{Request, uri::Authority};
use wsplice::{ForwardHttp, Pool, ProxyLayer, Upstream, connect::HttpVersion};

use crate::{
    parsers_kit::{
        handshake::Offer,
        stage::{serve, settle},
        strict::{Head, LineEnds, Read},
    },
    support::clock::ms,
};

use super::{
    Case, Ended, KEY, headers,
    kept::{kept_fields, kept_headers},
    upstream::Http2Upstreams,
};

const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A handshake in HTTP/1.1, to an upstream that speaks HTTP/2.
pub(super) async fn run(case: &Case) -> Ended {
    let upstreams = Http2Upstreams::new(case);
    let upstream = Upstream::new("ws://upstream:80").expect("an address");
    let upstream = upstream.http_version(HttpVersion::Http2);
    let layer = ProxyLayer::new(Pool::from_upstreams([upstream])).connector(upstreams.clone());
    let layer = layer.forward_http(ForwardHttp::new());
    let client = serve(layer.into_service());
    let request = http1_request(case);
    client.send(&request);
    tokio::time::sleep(ms(10)).await;
    client.send(&case.payload);
    settle().await;
    client.finish();
    settle().await;
    let received = client.state().received.clone();
    let head = match Head::read(&received, LineEnds::Sent) {
        Read::Whole(head) => head,
        read => panic!("{read:?} of {:?}", String::from_utf8_lossy(&received)),
    };
    let (status, _) = head.status_line().expect("a status line");
    let Some(upstream) = upstreams.take() else {
        assert_ne!(status, 101, "{head:?}");
        return Ended::Rejected;
    };
    check_http2(&request, &upstream.head);
    let offer = Offer {
        accept_key: ACCEPT,
        subprotocols: &["chat", "superchat"],
        extensions: &["permessage-deflate"],
    };
    match status {
        101 => {
            assert!(upstream.is_connect && upstream.accepts, "{head:?}");
            assert!(offer.is_accepted_by(&head), "{head:?}");
            assert!(
                received[head.len..].starts_with(&case.payload),
                "{received:?}"
            );
            Ended::Tunnel
        }
        _ => Ended::Response,
    }
}

/// A client's request: a handshake with some of the fields.
fn http1_request(case: &Case) -> Vec<u8> {
    let target = case
        .target
        .replace(|character: char| !character.is_ascii(), "x");
    let mut request = format!(
        "GET {target} HTTP/1.1\r\nHost: b:81\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n"
    );
    if case.method == "CONNECT" {
        request += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
        request += &format!("Sec-WebSocket-Key: {KEY}\r\n");
    }
    let mut request = request.into_bytes();
    for (name, value) in &headers(&case.fields) {
        let is_own =
            name == "host" || name == "upgrade" || name.as_str().starts_with("sec-websocket-");
        let frames = ["content-length", "transfer-encoding", "expect"];
        if !is_own && !frames.contains(&name.as_str()) {
            request.extend_from_slice(name.as_str().as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// Checks that the upstream received the HTTP/2 request that belongs to the HTTP/1.1 one.
fn check_http2(request: &[u8], received: &Request<()>) {
    let Read::Whole(sent) = Head::read(request, LineEnds::Sent) else {
        panic!("{:?}", String::from_utf8_lossy(request));
    };
    let headers = received.headers();
    let forbidden = [
        "connection",
        "host",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
        "sec-websocket-key",
        "http2-settings",
        "content-length",
        "forwarded",
    ];
    for name in forbidden {
        assert!(!headers.contains_key(name), "{name} in {received:?}");
    }
    assert!(
        headers.get_all("te").iter().all(|te| te == "trailers"),
        "{received:?}"
    );
    let (method, target, _) = sent.request_line().expect("a request line");
    let uri = received.uri();
    assert_eq!(uri.authority().map(Authority::as_str), Some("b:81"));
    assert_eq!(uri.scheme_str(), Some("http"));
    assert_eq!(
        uri.path_and_query().map(|it| it.as_str().as_bytes()),
        Some(target)
    );
    let protocol = received
        .extensions()
        .get::<Protocol>()
        .map(Protocol::as_str);
    match sent.has("upgrade") {
        true => assert_eq!(
            (received.method().as_str(), protocol),
            ("CONNECT", Some("websocket"))
        ),
        false => assert_eq!((received.method().as_str(), protocol), (method, None)),
    }
    assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    let nominated = sent.list("connection");
    let wanted = kept_fields(&sent);
    let wanted: BTreeMap<_, _> = wanted
        .into_iter()
        .filter(|(name, _)| !nominated.contains(name))
        .collect();
    assert_eq!(kept_headers(headers, &[]), wanted, "{received:?}");
}
