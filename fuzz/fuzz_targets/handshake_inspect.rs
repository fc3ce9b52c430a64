//! Any request head can be inspected and matched; one that is an upgrade is a proper one; and no
//! spelling of a path is owned by a matcher and by its opposite.
#![no_main]

use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use libfuzzer_sys::fuzz_target;
use wsplice::{
    handshake::{Intent, inspect},
    head::{PathRewrite, RequestHead},
    matcher::{
        Matcher, any, header, host, method, not, origin, owns, path, query, subprotocol, websocket,
    },
};

/// A handshake that is right, which the lines of the input then spoil.
const LINES: [(&str, &str); 5] = [
    ("host", "example.com"),
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

/// Names that mean something; a line names one of them or its own.
const NAMES: [&str; 12] = [
    "host",
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "content-length",
    "transfer-encoding",
    "origin",
    "x-forwarded-for",
    "forwarded",
];

type Input<'a> = (u8, &'a str, Vec<(u8, &'a [u8])>);

fn request((flags, target, lines): &Input<'_>) -> Option<Request<()>> {
    let mut request = Request::new(());
    *request.uri_mut() = Uri::try_from(*target).ok()?;
    if flags & 1 != 0 {
        *request.method_mut() = Method::POST;
    }
    if flags & 2 != 0 {
        *request.version_mut() = Version::HTTP_10;
    }
    let headers = request.headers_mut();
    for (index, (name, value)) in LINES.iter().enumerate() {
        if flags & (4 << index) == 0 {
            headers.append(*name, HeaderValue::from_static(value));
        }
    }
    for (name, value) in lines {
        let name = NAMES[usize::from(*name) % NAMES.len()];
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    Some(request)
}

fuzz_target!(|input: Input<'_>| {
    let Some(request) = request(&input) else {
        return;
    };
    let head = RequestHead::from(&request);

    let intent = inspect(&head);
    let only_line = |name: &str| {
        let mut lines = request.headers().get_all(name).iter();
        lines.next().filter(|_| lines.next().is_none())
    };
    if let Intent::Upgrade(_) = &intent {
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.version(), Version::HTTP_11);
        assert!(only_line("host").is_some());
        assert_eq!(only_line("sec-websocket-version").expect("one"), "13");
        assert_eq!(only_line("sec-websocket-key").expect("one").len(), 24);
        assert!(!request.headers().contains_key("transfer-encoding"));
        assert!(request.uri().path().starts_with('/'));
    }
    // What the matcher takes for a WebSocket is never forwarded as something else.
    let is_websocket = websocket().matches(&head);
    match intent {
        Intent::Upgrade(_) => assert!(is_websocket),
        Intent::Other => assert!(!is_websocket),
        _ => {}
    }

    // Nobody owns a request twice: what is ours by every reading is theirs by none.
    for pattern in ["/ws/*", "/ws", "/*", "/a/b/*", "/"] {
        let ours = owns(&path(pattern), &head);
        let theirs = owns(&not(path(pattern)), &head);
        assert!(!(ours && theirs), "{pattern} owns {:?} twice", input.1);
    }
    // A path that everybody reads alike is owned below the prefix, and nowhere else.
    let raw = request.uri().path();
    if owns(&path("/ws/*"), &head) && !raw.contains(['%', '.', '\\', ';']) {
        assert!(raw.trim_start_matches('/').starts_with("ws/"), "{raw}");
    }
    let _ = owns(
        &any([host("*.example.com").boxed(), method(Method::GET).boxed()]),
        &head,
    );
    let _ = owns(
        &header(HeaderName::from_static("x-forwarded-for"), "1"),
        &head,
    );
    let _ = owns(&query("token", "1"), &head);
    let _ = owns(&subprotocol("chat"), &head);
    if let Ok(origin) = origin(["https://*.example.com"]) {
        let _ = owns(&origin, &head);
    }
    let _ = PathRewrite::strip_prefix("/ws").map(|rewrite| rewrite.apply(request.uri()));
});
