//! The laws for the response that the client gets.

use crate::parsers_kit::strict::{
    Framing, Head, LineEnds, Read, body, content_of_chunks, content_so_far, members_of,
};

use super::{super::MAX_LINES, COOKIE, Case, End, Outcome, Response};

/// Fields that concern a connection alone (RFC 9110 §7.6.1), or that lead around the proxy.
const OF_ONE_HOP: [&str; 14] = [
    "alpn",
    "alt-svc",
    "close",
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that mean nothing in trailers, or more than they may (RFC 9110 §6.5.1).
const NOT_IN_TRAILERS: [&str; 6] = [
    "cache-control",
    "content-length",
    "content-type",
    "set-cookie",
    "transfer-encoding",
    "www-authenticate",
];

/// Checks what the client got.
pub(super) fn check(case: &Case, received: &[u8], response: Option<&Response<'_>>) -> Outcome {
    let shown = || {
        format!(
            "{:?} of {response:#?} in {case:?}",
            String::from_utf8_lossy(received)
        )
    };
    // hyper drops a head that it has not sent when the body fails.
    if received.is_empty() {
        let is_broken = response.is_some_and(|response| !is_complete(case, response));
        assert!(is_broken, "{}", shown());
        return Outcome::Incomplete;
    }
    let Read::Whole(head) = Head::read(received, LineEnds::Sent) else {
        panic!("{}", shown());
    };
    let behind = &received[head.len..];
    let (status, minor) = head.status_line().expect("a status line");
    assert_eq!(minor, 1, "{}", shown());
    let may_fail = response.is_none_or(|response| !is_usual(response));
    let framing = case.asks.framing(&head);
    let is_whole = matches!(body(behind, framing), Read::Whole((_, len)) if len == behind.len());
    if status == 502 && may_fail && is_whole && framing != Framing::UntilEnd {
        return Outcome::Failed;
    }
    let Some(response) = response.filter(|response| !is_unusable(response)) else {
        panic!("{}", shown());
    };
    assert_eq!(status, response.status(), "{}", shown());
    check_fields(case, response.head(), &head);
    check_body(case, response, &head, behind)
}

/// Whether nothing but a relayed response will do: hyper reads such heads, too.
pub(super) fn is_usual(response: &Response<'_>) -> bool {
    let head = response.head();
    let mut codings = head.all("transfer-encoding");
    let is_chunked = codings.all(|coding| coding.eq_ignore_ascii_case(b"chunked"))
        && head.all("transfer-encoding").count() <= 1;
    let has_one_framing = !head.has("transfer-encoding")
        || !head.has("content-length") && head.status_line().is_some_and(|(_, minor)| minor == 1);
    response.model.lines <= MAX_LINES
        && !response.model.has_empty_line
        && !is_unusable(response)
        && is_chunked
        && has_one_framing
        && head.all("content-length").all(is_number)
        && head.response_framing() != Framing::Malformed
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// Whether a client must not use the response: it changes the protocol, or its length is unknown (RFC 9112
/// §6.3, §7).
fn is_unusable(response: &Response<'_>) -> bool {
    let head = response.head();
    let has_coding = head.has("transfer-encoding") && head.list("transfer-encoding") != ["chunked"];
    response.status() == 101 || has_coding || response.framing == Framing::Malformed
}

/// Whether all of the body was sent.
fn is_complete(case: &Case, response: &Response<'_>) -> bool {
    let is_cut = case.end == End::Reset && case.pause.is_some();
    match response.framing {
        Framing::UntilEnd => !is_cut,
        _ => matches!(response.body, Read::Whole(_)),
    }
}

fn check_body(case: &Case, response: &Response<'_>, head: &Head, behind: &[u8]) -> Outcome {
    let shown = || {
        format!(
            "{head:?}{:?} of {response:#?} in {case:?}",
            String::from_utf8_lossy(behind)
        )
    };
    let framing = case.asks.framing(head);
    assert!(
        !matches!(framing, Framing::UntilEnd | Framing::Malformed),
        "{}",
        shown()
    );
    let read = body(behind, framing);
    if response.has_odd_trailers {
        let Read::Whole((content, _)) = content_of_chunks(response.model.behind) else {
            panic!("{}", shown());
        };
        if let Read::Whole((got, len)) = read {
            assert_eq!((got, len), (content, behind.len()), "{}", shown());
            return Outcome::Relayed;
        }
    } else if let (true, Read::Whole((content, _))) = (is_complete(case, response), &response.body)
    {
        assert_eq!(
            read,
            Read::Whole((content.clone(), behind.len())),
            "{}",
            shown()
        );
        check_trailers(response, framing, behind);
        return Outcome::Relayed;
    }
    assert_eq!(read, Read::Partial, "{}", shown());
    let got = content_so_far(behind, framing);
    let sent = content_so_far(response.model.behind, response.framing);
    assert!(sent.starts_with(&got), "{}", shown());
    Outcome::Incomplete
}

/// Every trailer is one of the upstream's, and means nothing ahead of the content.
fn check_trailers(response: &Response<'_>, framing: Framing, behind: &[u8]) {
    if framing != Framing::Chunked {
        return;
    }
    let got = trailers(behind);
    let sent = match response.framing {
        Framing::Chunked => trailers(response.model.behind),
        _ => Vec::new(),
    };
    for trailer in &got {
        assert!(sent.contains(trailer), "{got:?} of {sent:?}");
        assert!(!NOT_IN_TRAILERS.contains(&&*trailer.0), "{got:?}");
        assert!(!OF_ONE_HOP.contains(&&*trailer.0), "{got:?}");
    }
}

fn trailers(chunks: &[u8]) -> Vec<(String, Vec<u8>)> {
    let Read::Whole((_, at)) = content_of_chunks(chunks) else {
        return Vec::new();
    };
    let section = [b"a start line\r\n", &chunks[at..]].concat();
    match Head::read(&section, LineEnds::Received) {
        Read::Whole(head) => head.fields,
        _ => Vec::new(),
    }
}

/// The client gets the fields of the upstream but for those of one hop, and those of the proxy.
fn check_fields(case: &Case, sent: &Head, got: &Head) {
    let shown = || format!("{got:?} of {sent:?}");
    for name in [
        "connection",
        "content-length",
        "transfer-encoding",
        "upgrade",
    ] {
        assert!(got.all(name).count() <= 1, "{name} in {}", shown());
    }
    for name in OF_ONE_HOP {
        let is_own = matches!(name, "connection" | "transfer-encoding" | "trailer");
        let is_offered = name == "upgrade" && got.status_line() == Some((426, 1));
        assert!(
            !got.has(name) || is_own || is_offered,
            "{name} in {}",
            shown()
        );
    }
    let options = got.list("connection");
    let is_own = |it: &String| matches!(&**it, "close" | "keep-alive" | "upgrade");
    assert!(options.iter().all(is_own), "{}", shown());
    let announced = sent.members("trailer");
    for name in got.members("trailer") {
        assert!(announced.contains(&name), "{}", shown());
    }
    if let Some(length) = got.content_length() {
        // The length of no content is hyper's own.
        let is_sent = sent.content_length() == Some(length);
        assert!(
            is_sent || length == 0 && !sent.has("content-length"),
            "{}",
            shown()
        );
    }

    let mut wanted = end_to_end(sent, sent);
    if case.adds_cookie {
        wanted.push(("set-cookie".to_owned(), COOKIE.into()));
        check_privacy(sent, got);
        wanted.retain(|(name, _)| name != "cache-control");
    }
    let mut fields = end_to_end(got, sent);
    fields.retain(|(name, _)| {
        let is_servers = name == "date" && !sent.has("date");
        let is_changed = name == "cache-control" && case.adds_cookie;
        !is_servers && !is_changed
    });
    // The order of the lines of one name stays.
    wanted.sort_by(|one, other| one.0.cmp(&other.0));
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(fields, wanted, "{}", shown());
}

/// The fields of `head` that concern the whole way, but for the length of the body. `Connection` of `sent`
/// names others that go.
fn end_to_end(head: &Head, sent: &Head) -> Vec<(String, Vec<u8>)> {
    let nominated = sent.list("connection");
    let is_kept = |name: &String| {
        name != "content-length"
            && !OF_ONE_HOP.contains(&&**name)
            && (is_protected(name) || !nominated.contains(name))
    };
    let fields = head.fields.iter().filter(|(name, _)| is_kept(name));
    fields.cloned().collect()
}

/// Whether `Connection` cannot remove the field.
fn is_protected(name: &str) -> bool {
    let names = [
        "authorization",
        "cookie",
        "forwarded",
        "host",
        "origin",
        "set-cookie",
        "via",
    ];
    let starts = ["sec-websocket-", "x-forwarded-"];
    names.contains(&name)
        || matches!(name, "x-forwarded" | "x-real-ip")
        || starts.iter().any(|start| name.starts_with(start))
}

/// A response with a cookie of the proxy is for no shared cache (RFC 9111 §7.3): for a cache that knows
/// quoted-strings, and for one that splits at every comma.
fn check_privacy(sent: &Head, got: &Head) {
    let lines: Vec<_> = got.all("cache-control").collect();
    let joined = lines.join(&b',');
    for splits_quotes in [false, true] {
        let directives: Vec<_> = members_of(&joined, splits_quotes)
            .map(|it| String::from_utf8_lossy(it).to_ascii_lowercase())
            .collect();
        let is_private = directives.iter().any(|it| it == "private");
        // A directive is known by its name (RFC 9111 §5.2); `private` with an argument is another one.
        let names = directives.iter().filter_map(|it| it.split('=').next());
        let is_never_stored = names.map(str::trim).any(|name| name == "no-store");
        assert!(is_private || is_never_stored, "{got:?} of {sent:?}");
    }
}
