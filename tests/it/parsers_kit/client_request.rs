//! Any bytes of a client, through hyper's server and the layer, beside httparse and the strict model.
//!
//! No upstream sees a request that the model does not see in the client's bytes, nor one that the model
//! refuses; a handshake that the model accepts is one for the proxy; and the upstream gets a head of the
//! strict form, with the client's own headers unchanged, and with the body, or the bytes of the WebSocket,
//! that the model finds behind the client's head.

mod draw;
pub(crate) mod head;

use tungstenite::handshake::derive_accept_key;
use wsplice::ForwardHttp;

use crate::support::{clock::on_a_paused_clock, dice::Dice, pipe::State};

use self::head::{check_head, has_fields_of};

use super::{
    garble::cuts,
    handshake::{Meaning, is_absolute, meaning},
    stage::{Upstreams, send_in_pieces, serve, settle},
    strict::{Framing, Head, LineEnds, Read, body, content_of_chunks},
};

/// The first frame of an upstream, right behind its 101.
const GREETING: &[u8] = b"\x81\x05hello";

/// Lines at which a server limits its heads: hyper's default.
const MAX_LINES: usize = 100;

/// A client's connection.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) bytes: Vec<u8>,
    cuts: Vec<usize>,
}

/// A request as the model reads it.
#[derive(Debug)]
struct Wanted {
    head: Head,
    meaning: Meaning,
    body: Vec<u8>,
    is_whole: bool,
    /// Whether it is unclear where the request ends: its trailers are malformed, and hyper reads lines
    /// that end in a lone LF there in its own way.
    has_odd_trailers: bool,
}

impl Case {
    /// Draws a connection.
    pub(crate) fn draw(dice: &mut impl Dice) -> Self {
        let mut bytes = Vec::new();
        for _ in 0..dice.up_to(3) {
            bytes.extend(draw::request(dice));
        }
        let cuts = cuts(dice, bytes.len());
        Self { bytes, cuts }
    }

    /// A connection with these bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let cuts = vec![bytes.len() / 3, bytes.len() / 2];
        let bytes = bytes.to_vec();
        Self { bytes, cuts }
    }
}

/// Checks the laws; returns the number of requests that an upstream received.
pub(crate) fn check(case: &Case) -> usize {
    fastrand::seed(7);
    let wanted = requests(&case.bytes);
    compare_with_httparse(&case.bytes);
    let (received, response) = on_a_paused_clock(run(case));
    let mut wanted_next = wanted.iter();
    let mut count = 0;
    for connection in &received {
        let mut at = 0;
        while at < connection.len() {
            let Some(read) = next(&connection[at..]) else {
                break;
            };
            count += 1;
            let is_allowed = |wanted: &&Wanted| wanted.meaning != Meaning::Refused;
            let mut allowed = wanted_next.by_ref().filter(is_allowed);
            let Some(wanted) = allowed.find(|wanted| is_same(wanted, &read)) else {
                // Behind these, also of a request that is refused, hyper reads others.
                let is_behind_odd = wanted.iter().any(|wanted| wanted.has_odd_trailers);
                assert!(
                    is_behind_odd,
                    "{read:?} is none of the client's valid requests: {wanted:?}"
                );
                return count;
            };
            check_head(&wanted.head, wanted.meaning, &read.head);
            if wanted.has_odd_trailers {
                return count;
            }
            at += read.len;
        }
    }
    check_first(wanted.first(), count, &response);
    count
}

/// The first request is handled as the model says.
fn check_first(first: Option<&Wanted>, count: usize, response: &[u8]) {
    let Some(first) = first.filter(|first| first.head.fields.len() <= MAX_LINES) else {
        return;
    };
    // The target is read by `http`, which knows more rules than the model.
    let target = first.head.request_line().map(|(_, target, _)| target);
    let is_simple = |target: &[u8]| {
        target
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'/')
    };
    if !target.is_some_and(|target| target.starts_with(b"/") && is_simple(target)) {
        return;
    }
    match first.meaning {
        Meaning::Handshake => {
            assert!(response.starts_with(b"HTTP/1.1 101"), "{first:?}");
            let Read::Whole(head) = Head::read(response, LineEnds::Sent) else {
                panic!("{response:?}");
            };
            assert!(response[head.len..].starts_with(GREETING), "{response:?}");
        }
        Meaning::Refused => assert!(!response.starts_with(b"HTTP/1.1 101"), "{first:?}"),
        Meaning::Ordinary => {
            // The others may have come to their last hop (RFC 9110 §7.6.2).
            let method = first.head.request_line().map(|(method, _, _)| method);
            // A server may also reject what has two framings (RFC 9112 §6.1).
            let has_two = ["content-length", "transfer-encoding"]
                .iter()
                .all(|name| first.head.has(name));
            // hyper rejects a list of codings whose last member is empty.
            let mut codings = first.head.all("transfer-encoding");
            let is_plain = codings.all(|coding| coding.eq_ignore_ascii_case(b"chunked"));
            let is_usual = matches!(method, Some("GET" | "POST"))
                && !has_two
                && is_plain
                && !first.has_odd_trailers;
            assert!(!is_usual || !first.is_whole || count > 0, "{first:?}");
        }
    }
}

async fn run(case: &Case) -> (Vec<Vec<u8>>, Vec<u8>) {
    let upstreams = Upstreams::new(respond);
    let layer = upstreams.layer().forward_http(ForwardHttp::new());
    let client = serve(layer.into_service());
    send_in_pieces(&client, &case.bytes, &case.cuts).await;
    settle().await;
    client.finish();
    settle().await;
    let response = client.state().received.clone();
    (upstreams.received(), response)
}

/// Responds to the requests that are whole; returns whether the connection is a WebSocket now.
fn respond(state: &mut State) -> bool {
    let responses = state
        .sent
        .windows(9)
        .filter(|nine| nine == b"HTTP/1.1 ")
        .count();
    let mut at = 0;
    let mut number = 0;
    while let Some(read) = next(&state.received[at..]).filter(|read| read.is_whole) {
        at += read.len;
        number += 1;
        if number <= responses {
            continue;
        }
        let Some(key) = read
            .head
            .only("sec-websocket-key")
            .filter(|_| read.is_upgrade)
        else {
            state.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            continue;
        };
        let accept = derive_accept_key(key);
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        state.send(head.as_bytes());
        state.send(GREETING);
        return true;
    }
    false
}

/// A request as an upstream reads it.
#[derive(Debug)]
struct Received {
    head: Head,
    body: Vec<u8>,
    len: usize,
    is_whole: bool,
    is_upgrade: bool,
}

/// Reads the next request of the proxy, which must be of the strict form as far as it goes.
fn next(bytes: &[u8]) -> Option<Received> {
    let head = match Head::read(bytes, LineEnds::Sent) {
        Read::Whole(head) => head,
        Read::Partial => return None,
        Read::Malformed(fault) => panic!("{fault} in {:?}", String::from_utf8_lossy(bytes)),
    };
    assert!(head.request_line().is_some(), "{head:?}");
    let rest = &bytes[head.len..];
    let is_upgrade = head.has("upgrade");
    if is_upgrade {
        return Some(Received {
            len: bytes.len(),
            body: rest.to_vec(),
            is_whole: true,
            is_upgrade,
            head,
        });
    }
    let framing = head.request_framing();
    assert_ne!(framing, Framing::Malformed, "{head:?}");
    let (body, len, is_whole) = match body(rest, framing) {
        Read::Whole((body, len)) => (body, head.len + len, true),
        Read::Partial => (Vec::new(), bytes.len(), false),
        Read::Malformed(fault) => panic!("{fault} in {rest:?}"),
    };
    Some(Received {
        head,
        body,
        len,
        is_whole,
        is_upgrade,
    })
}

/// The requests that a client's bytes hold. The model stops at the first bytes that it cannot read, and
/// where a connection must be closed.
fn requests(mut bytes: &[u8]) -> Vec<Wanted> {
    let mut requests = Vec::new();
    while let Read::Whole(head) = Head::read(bytes, LineEnds::Received) {
        if head.request_line().is_none() {
            break;
        }
        let meaning = meaning(&head);
        let rest = &bytes[head.len..];
        let framing = head.request_framing();
        if meaning == Meaning::Handshake {
            let body = rest.to_vec();
            requests.push(Wanted {
                head,
                meaning,
                body,
                is_whole: true,
                has_odd_trailers: false,
            });
            break;
        }
        // RFC 9112 §6.1: the connection is closed behind two framings of one body.
        let is_last = head.has("transfer-encoding") && head.has("content-length");
        let mut has_odd_trailers = false;
        let (content, len, is_whole) = match (body(rest, framing), framing) {
            (Read::Whole((body, len)), _) => (body, len, true),
            (Read::Malformed(_), Framing::Chunked) => match content_of_chunks(rest) {
                Read::Whole((content, len)) => {
                    has_odd_trailers = true;
                    (content, len, true)
                }
                _ => (Vec::new(), 0, false),
            },
            _ => (Vec::new(), 0, false),
        };
        let is_last = is_last || !is_whole || has_odd_trailers || framing == Framing::Malformed;
        requests.push(Wanted {
            head,
            meaning,
            body: content,
            is_whole,
            has_odd_trailers,
        });
        if is_last {
            break;
        }
        bytes = &rest[len..];
    }
    requests
}

/// Whether the upstream's request can be this one.
fn is_same(wanted: &Wanted, received: &Received) -> bool {
    let (Some((method, target, _)), Some((received_method, received_target, _))) =
        (wanted.head.request_line(), received.head.request_line())
    else {
        return false;
    };
    let is_upgrade = wanted.meaning == Meaning::Handshake;
    // No target has a fragment (RFC 9112 §3.2); `http` cuts one off.
    let target = target
        .split(|byte| *byte == b'#')
        .next()
        .unwrap_or_default();
    method == received_method
        && is_same_target(target, received_target)
        && is_upgrade == received.is_upgrade
        && has_fields_of(&received.head, &wanted.head)
        && match (wanted.is_whole, received.is_whole) {
            (true, true) => wanted.body == received.body,
            (_, whole) => !whole,
        }
}

/// Whether the upstream's target is the client's, of which the absolute form becomes a path.
fn is_same_target(target: &[u8], received: &[u8]) -> bool {
    let path = received.strip_prefix(b"/").unwrap_or(received);
    target == received || is_absolute(target) && target.ends_with(path)
}

/// A head that httparse reads is one for the model too, with the same fields and the same end; and the
/// other way round.
fn compare_with_httparse(bytes: &[u8]) {
    let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
    let mut request = httparse::Request::new(&mut lines);
    let parsed = request.parse(bytes);
    let model = match Head::read(bytes, LineEnds::Received) {
        Read::Whole(head) if head.request_line().is_some() => Some(head),
        _ => None,
    };
    match (parsed, model) {
        (Ok(httparse::Status::Complete(len)), Some(model)) => {
            assert_eq!(len, model.len, "{model:?}");
            let fields = request.headers.iter();
            let fields: Vec<_> = fields
                .map(|line| (line.name.to_ascii_lowercase(), line.value.to_vec()))
                .collect();
            assert_eq!(fields, model.fields);
        }
        (Ok(httparse::Status::Complete(_)), None) => {
            panic!(
                "httparse reads {:?}, the model does not",
                String::from_utf8_lossy(bytes)
            );
        }
        (Err(httparse::Error::TooManyHeaders), _) | (_, None) => {}
        // http's URIs are bytes of UTF-8; so are httparse's targets.
        (Err(httparse::Error::Token), Some(model)) if !model.start.is_ascii() => {}
        (parsed, Some(model)) => panic!("httparse: {parsed:?}, the model: {model:?}"),
    }
}
