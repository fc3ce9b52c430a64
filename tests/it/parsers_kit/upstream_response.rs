//! Any bytes of an upstream in response to a handshake, beside the strict model: to a host that performs
//! the handshake by itself, and through the layer to a client.
//!
//! A cut of the bytes changes nothing. What is accepted is a 101 by the rules of RFC 6455 §4.1, what is
//! refused is another final response with the body that the model reads, and no byte behind the head of
//! the 101 is lost. The client gets one response of the strict form.

use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::io::AsyncReadExt;
use wsplice::{
    ErrorKind,
    connect::Transport,
    handshake::{RefusedBody, UpstreamHandshake, UpstreamResponse},
    tunnel::reattach::Reattach,
};

use crate::support::{
    clock::{ms, on_a_paused_clock},
    dice::Dice,
    pipe::connection,
};

use super::{
    garble::{Draft, cuts},
    handshake::Offer,
    stage::{Upstreams, send_in_pieces, serve, settle},
    strict::{Framing, Head, LineEnds, Read, body},
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

const OFFER: Offer<'static> = Offer {
    accept_key: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    subprotocols: &["chat", "superchat"],
    extensions: &["permessage-deflate", "x-a"],
};

/// Lines at which the head of a response is too long: the default of the layer.
const MAX_LINES: usize = 100;

/// A response, and where its bytes are cut.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) bytes: Vec<u8>,
    cuts: Vec<usize>,
    reattaches: bool,
}

/// The end of a handshake.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Accepted {
        fields: Vec<(String, Vec<u8>)>,
        subprotocol: Option<String>,
        /// The bytes behind the head.
        behind: Vec<u8>,
    },
    Refused {
        status: u16,
        /// `None` if the body did not come to its end.
        body: Option<Vec<u8>>,
    },
    Failed(ErrorKind),
}

impl Case {
    /// Draws a response.
    pub(crate) fn draw(dice: &mut impl Dice) -> Self {
        let mut bytes = Vec::new();
        for _ in 0..dice.below(3) {
            bytes.extend(response(dice));
        }
        bytes.extend(response(dice));
        let cuts = cuts(dice, bytes.len());
        let reattaches = dice.is_one_of(3);
        Self {
            bytes,
            cuts,
            reattaches,
        }
    }

    /// A response of these bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            cuts: vec![
                bytes.len() / 3,
                bytes.len() / 2,
                bytes.len().saturating_sub(1),
            ],
            reattaches: bytes.len() % 2 == 0,
        }
    }
}

/// Checks the laws; returns the end of the handshake that a host performs.
pub(crate) fn check(case: &Case) -> Outcome {
    fastrand::seed(7);
    let whole = on_a_paused_clock(perform(&case.bytes, &[]));
    let cut = on_a_paused_clock(perform(&case.bytes, &case.cuts));
    assert_eq!(cut, whole, "the cuts at {:?}", case.cuts);
    let model = model(&case.bytes);
    check_outcome(&whole, &model);
    let received = on_a_paused_clock(relay(case));
    check_client(case, &received, &whole);
    whole
}

/// The final response, as the model reads it.
#[derive(Debug)]
struct Model<'a> {
    head: Head,
    /// The number of header lines of the longest head up to it.
    lines: usize,
    /// Whether an empty line is ahead of a head: no client need ignore it (RFC 9112 §2.2).
    has_empty_line: bool,
    behind: &'a [u8],
}

/// Reads up to the final response; `None` if there is none.
fn model(mut bytes: &[u8]) -> Option<Model<'_>> {
    let mut lines = 0;
    let mut has_empty_line = false;
    loop {
        has_empty_line |= matches!(bytes, [b'\r' | b'\n', ..]);
        let Read::Whole(head) = Head::read(bytes, LineEnds::Received) else {
            return None;
        };
        let (status, _) = head.status_line()?;
        let behind = &bytes[head.len..];
        lines = lines.max(head.fields.len());
        if matches!(status, 100 | 102..=199) {
            bytes = behind;
            continue;
        }
        return Some(Model {
            head,
            lines,
            has_empty_line,
            behind,
        });
    }
}

fn check_outcome(outcome: &Outcome, model: &Option<Model<'_>>) {
    let is_accepted = |model: &Model<'_>| OFFER.is_accepted_by(&model.head);
    match (outcome, model) {
        (
            Outcome::Accepted {
                fields,
                behind,
                subprotocol,
            },
            Some(model),
        ) => {
            assert!(is_accepted(model), "{model:?}");
            let sorted = |fields: &Vec<(String, Vec<u8>)>| {
                let mut fields = fields.clone();
                fields.sort();
                fields
            };
            assert_eq!(sorted(fields), sorted(&model.head.fields));
            assert_eq!(behind, model.behind);
            let named = model.head.members("sec-websocket-protocol");
            assert_eq!(
                subprotocol.as_ref().map(String::as_bytes),
                named.first().map(|it| &it[..])
            );
        }
        (
            Outcome::Refused {
                status,
                body: content,
            },
            Some(model),
        ) => {
            let (wanted, _) = model.head.status_line().expect("a status line");
            assert_eq!(*status, wanted, "{model:?}");
            let wanted = body(model.behind, model.head.response_framing());
            if let Some(content) = content {
                assert_eq!(
                    Read::Whole(content.clone()),
                    wanted.map(|(wanted, _)| wanted),
                    "{model:?}"
                );
            }
        }
        (Outcome::Accepted { .. } | Outcome::Refused { .. }, None) => {
            panic!("{outcome:?} of what is no response");
        }
        (Outcome::Failed(kind), Some(model)) => {
            let is_odd = model.lines > MAX_LINES || model.has_empty_line;
            assert!(is_odd || !is_accepted(model), "{kind:?} of {model:?}");
        }
        (Outcome::Failed(_), None) => {}
    }
}

/// Performs a handshake by itself with an upstream that sends these bytes and then ends.
async fn perform(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let (far, near) = connection();
    let request = Request::get("/ws")
        .header("host", "a")
        .header("sec-websocket-key", KEY)
        .header("sec-websocket-protocol", OFFER.subprotocols.join(", "))
        .header("sec-websocket-extensions", OFFER.extensions.join(", "))
        .body(())
        .expect("a request");
    let handshake = UpstreamHandshake::new(request).perform(Transport::new(near));
    let outcome = async {
        match handshake.await {
            Err(error) => Outcome::Failed(error.kind()),
            Ok(UpstreamResponse::Refused(response)) => refused(*response).await,
            Ok(UpstreamResponse::Accepted(mut accepted)) => {
                let mut behind = accepted.read_ahead.to_vec();
                let read = accepted.transport.read_to_end(&mut behind).await;
                read.expect("the end of the connection");
                let headers = accepted.response.headers().iter();
                Outcome::Accepted {
                    fields: headers
                        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                        .collect(),
                    subprotocol: accepted.subprotocol.map(String::from),
                    behind,
                }
            }
        }
    };
    let sending = async {
        send_in_pieces(&far, bytes, cuts).await;
        far.finish();
    };
    tokio::join!(outcome, sending).0
}

async fn refused(response: Response<RefusedBody>) -> Outcome {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok();
    Outcome::Refused {
        status,
        body: body.map(|body| body.to_bytes().to_vec()),
    }
}

/// Lets a client make the handshake through the layer, and returns the bytes that it received.
async fn relay(case: &Case) -> Vec<u8> {
    let upstreams = Upstreams::new(|_| true);
    let reattach = case.reattaches.then(Reattach::new);
    let layer = upstreams.layer().reattach(reattach);
    let client = serve(layer.into_service());
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {}\r\n\
         Sec-WebSocket-Extensions: {}\r\n\r\n",
        OFFER.subprotocols.join(", "),
        OFFER.extensions.join(", "),
    );
    client.send(request.as_bytes());
    tokio::time::sleep(ms(1)).await;
    for leg in upstreams.legs() {
        send_in_pieces(&leg, &case.bytes, &case.cuts).await;
        leg.finish();
    }
    settle().await;
    client.finish();
    settle().await;

    client.state().received.clone()
}

/// The client got one response of the strict form, and what belongs to it.
fn check_client(case: &Case, received: &[u8], outcome: &Outcome) {
    let shown = String::from_utf8_lossy(received);
    // hyper drops a head that it has not sent when the body fails.
    if received.is_empty() && matches!(outcome, Outcome::Refused { body: None, .. }) {
        return;
    }
    let head = match Head::read(received, LineEnds::Sent) {
        Read::Whole(head) => head,
        read => panic!(
            "{read:?} of {shown}, {outcome:?} of {:?}",
            String::from_utf8_lossy(&case.bytes)
        ),
    };
    let (status, _) = head.status_line().expect("a status line");
    for name in [
        "connection",
        "content-length",
        "transfer-encoding",
        "upgrade",
    ] {
        assert!(head.all(name).count() <= 1, "{name} in {shown}");
    }
    for name in [
        "keep-alive",
        "proxy-connection",
        "te",
        "alt-svc",
        "proxy-authenticate",
    ] {
        assert!(!head.has(name), "{name} in {shown}");
    }
    assert!(
        !(head.has("content-length") && head.has("transfer-encoding")),
        "{shown}"
    );
    let behind = &received[head.len..];
    match outcome {
        Outcome::Accepted { behind: wanted, .. } => {
            assert!(OFFER.is_accepted_by(&head), "{shown}");
            let own = behind.strip_prefix(&wanted[..]);
            assert!(
                case.reattaches || own.is_some(),
                "{behind:?} is not {wanted:?} and more"
            );
        }
        Outcome::Refused {
            status: wanted,
            body: content,
        } => {
            assert_eq!(status, *wanted, "{shown}");
            let read = body(behind, client_framing(&head));
            if let (Some(content), Read::Whole((read, len))) = (content, read) {
                assert_eq!((&read, len), (content, behind.len()), "{shown}");
            }
        }
        Outcome::Failed(_) => {
            assert!(matches!(status, 502 | 504), "{shown}");
            assert!(
                matches!(body(behind, client_framing(&head)), Read::Whole(_)),
                "{shown}"
            );
        }
    }
}

fn client_framing(head: &Head) -> Framing {
    let framing = head.response_framing();
    assert_ne!(framing, Framing::Malformed, "{head:?}");
    framing
}

fn response(dice: &mut impl Dice) -> Vec<u8> {
    let draft = match dice.below(5) {
        0 => Draft::new("HTTP/1.1 100 Continue", &[], ""),
        1 => Draft::new("HTTP/1.1 200 OK", &["Content-Length: 5"], "hello"),
        2 => Draft::new(
            dice.pick(STARTS),
            &["Transfer-Encoding: chunked"],
            dice.pick([
                "0\r\n\r\n",
                "5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n",
                "5\r\nhel",
                "z\r\n",
            ]),
        ),
        _ => Draft::new(
            "HTTP/1.1 101 Switching Protocols",
            &[
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            ],
            dice.pick([
                "",
                "\u{1}\u{2}",
                "HTTP/1.1 200 OK\r\n\r\n",
                "\u{1}\u{5}hello",
            ]),
        ),
    };
    draft.garbled(dice, LINES)
}

const STARTS: [&str; 12] = [
    "HTTP/1.1 200",
    "HTTP/1.0 101 Switching",
    "HTTP/1.1 101",
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 304 Not Modified",
    "HTTP/1.1 426 Upgrade Required",
    "HTTP/1.1 1011 x",
    "HTTP/1.1 99 x",
    "HTTP/2 101 x",
    "HTTP/1.1  101 x",
    "HTTP/1.1 403 \u{fc}",
    "ICY 200 OK",
];

const LINES: &[&str] = &[
    "Sec-WebSocket-Protocol: chat",
    "Sec-WebSocket-Protocol: Chat",
    "Sec-WebSocket-Protocol:",
    "Sec-WebSocket-Protocol: chat, superchat",
    "Sec-WebSocket-Extensions: permessage-deflate",
    "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover",
    "Sec-WebSocket-Extensions: Permessage-Deflate; client_max_window_bits=\"12\", ",
    "Sec-WebSocket-Extensions: x-a; p=\"1,2\"; q",
    "Sec-WebSocket-Extensions: x-b",
    "Sec-WebSocket-Extensions: permessage-deflate; a=\"",
    "Sec-WebSocket-Accept: x",
    "Upgrade: h2c",
    "Upgrade: websocket",
    "Connection: close",
    "Connection: x-a, upgrade",
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: 3",
    "Content-Length: 5, 5",
    "Content-Length: -1",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding : chunked",
    "Set-Cookie: a=b",
    "X-A: 1",
    " folded",
    "no colon",
    "Keep-Alive: timeout=5",
    "Alt-Svc: h3=\":443\"",
    "Trailer: X-A",
    "X-A: \u{fffd}",
];
