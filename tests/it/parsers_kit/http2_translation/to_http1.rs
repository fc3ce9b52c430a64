//! From HTTP/2 to HTTP/1.1.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Empty;
use tower_service::Service;
use tungstenite::handshake::derive_accept_key;
use wsplice::{
    ForwardHttp, accept::ClientStream, connect::Transport, head::ExtendedConnect,
    headers::ClientInfo,
};

use crate::{
    parsers_kit::{
        client_request::head::{check_form, check_handshake},
        stage::{CLIENT, Upstreams},
        strict::{Head, LineEnds, Read, is_host},
    },
    support::{
        clock::ms,
        pipe::{State, connection},
    },
};

use super::{
    Case, Ended, headers,
    kept::{kept_fields, kept_headers, nominated},
};

/// A request in HTTP/2, to an upstream that speaks HTTP/1.1.
pub(super) async fn run(case: &Case) -> Ended {
    let Some(uri) = case.uri() else {
        return Ended::Rejected;
    };
    let upstreams = Upstreams::new(accept);
    let layer = upstreams.layer().forward_http(ForwardHttp::new());
    let (client, near) = connection();
    let stream = ClientStream::from_future(async { Ok(Transport::new(near)) });
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::try_from(case.method).expect("a method");
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers(&case.fields);
    let peer: SocketAddr = CLIENT.parse().expect("an address");
    let extensions = request.extensions_mut();
    extensions.insert(ClientInfo::from(peer));
    if !case.protocol.is_empty() {
        extensions.insert(ExtendedConnect::new(case.protocol));
        extensions.insert(stream);
    }
    let response = layer.into_service().call(request).await;
    let response = response.expect("a response").map(drop);
    client.send(&case.payload);
    tokio::time::sleep(ms(1)).await;
    let received = upstreams.received();
    check_response(&response);
    let Some(bytes) = received.first().filter(|bytes| !bytes.is_empty()) else {
        assert!(!response.status().is_success(), "{response:?}");
        assert!(
            case.method != "CONNECT" || !is_plain(case),
            "{case:?}: {response:?}"
        );
        return Ended::Rejected;
    };
    check_http1(case, bytes, &response)
}

/// Whether the case has a valid handshake, without any deviation.
fn is_plain(case: &Case) -> bool {
    let versions = case
        .fields
        .iter()
        .filter(|(name, _)| *name == "sec-websocket-version");
    let is_odd =
        |name: &str| matches!(name, "host" | "sec-websocket-version" | "sec-websocket-key");
    let others = case.fields.iter().filter(|(name, _)| is_odd(name)).count();
    case.protocol == "websocket"
        && versions.map(|(_, value)| &value[..]).eq([b"13"])
        && others == 1
        && is_host(case.authority.as_bytes())
}

/// Checks that the upstream received the HTTP/1.1 request that belongs to the HTTP/2 one.
fn check_http1(case: &Case, bytes: &[u8], response: &Response<()>) -> Ended {
    let head = match Head::read(bytes, LineEnds::Sent) {
        Read::Whole(head) => head,
        read => panic!("{read:?} of {:?}", String::from_utf8_lossy(bytes)),
    };
    check_form(&head);
    let (method, target, minor) = head.request_line().expect("a request line");
    let client = headers(&case.fields);
    assert_eq!((target, minor), (case.target.as_bytes(), 1));
    // RFC 9113 §8.3.1: the authority is the host, and has no user information.
    assert_eq!(head.only("host"), Some(case.authority.as_bytes()));
    assert!(is_host(case.authority.as_bytes()), "{head:?}");
    assert!(client.get_all("host").iter().count() <= 1, "{head:?}");
    let cookies: Vec<_> = client
        .get_all("cookie")
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let cookie = (!cookies.is_empty()).then(|| cookies.join(&b"; "[..]));
    if cookie.is_some() && !nominated(&client).contains(&"cookie".to_owned()) {
        let sent = head.only("cookie").map(<[u8]>::trim_ascii);
        assert_eq!(sent, cookie.as_deref().map(<[u8]>::trim_ascii), "{head:?}");
    }
    assert_eq!(
        kept_fields(&head),
        kept_headers(&client, &nominated(&client)),
        "{head:?}"
    );
    if !head.has("upgrade") {
        assert_eq!(method, case.method);
        assert_ne!(method, "CONNECT");
        return Ended::Response;
    }
    assert_eq!((case.method, method), ("CONNECT", "GET"));
    assert!(case.protocol.eq_ignore_ascii_case("websocket"));
    assert_eq!(response.status(), StatusCode::OK);
    check_handshake(&head);
    assert_eq!(&bytes[head.len..], &case.payload[..]);
    Ended::Tunnel
}

/// Accepts each handshake.
fn accept(state: &mut State) -> bool {
    let Read::Whole(head) = Head::read(&state.received, LineEnds::Sent) else {
        return false;
    };
    let response = match head
        .only("sec-websocket-key")
        .filter(|_| head.has("upgrade"))
    {
        Some(key) => format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, x-a\r\nX-A: 1\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key)
        ),
        None => {
            "HTTP/1.1 200 OK\r\nConnection: x-a\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n".to_owned()
        }
    };
    state.send(response.as_bytes());
    true
}

/// RFC 9113 §8.2.2, RFC 8441 §5.
fn check_response(response: &Response<()>) {
    let forbidden = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
        "x-a",
        "sec-websocket-accept",
    ];
    for name in forbidden {
        assert!(!response.headers().contains_key(name), "{response:?}");
    }
}
