//! Any bytes of an upstream in response to a handshake, beside the strict model: to a host that performs
//! the handshake by itself, and through the layer to a client.
//!
//! A cut of the bytes changes nothing. What is accepted is a 101 by the rules of RFC 6455 §4.1, what is
//! refused is another final response with the body that the model reads, and no byte behind the head of
//! the 101 is lost. The client gets one response of the strict form. `forwarding` has the responses to
//! forwarded requests.

mod client;
mod draw;
pub(crate) mod forwarding;

use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::io::AsyncReadExt;
use wsplice::{
    ErrorKind,
    connect::Transport,
    handshake::{RefusedBody, UpstreamHandshake, UpstreamResponse},
};

use crate::support::{clock::on_a_paused_clock, dice::Dice, pipe::connection};

use self::{
    client::{check_client, relay},
    draw::response,
};
use super::{
    garble::cuts,
    handshake::Offer,
    stage::send_in_pieces,
    strict::{Framing, Head, LineEnds, Read, body, content_of_chunks},
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
            let framing = model.head.response_framing();
            let wanted = match body(model.behind, framing) {
                // hyper takes more than the model as trailers; the content ends ahead of them.
                Read::Malformed(_) if framing == Framing::Chunked => {
                    content_of_chunks(model.behind)
                }
                read => read,
            };
            if let Some(content) = content {
                let wanted = wanted.map(|(wanted, _)| wanted);
                assert_eq!(Read::Whole(content.clone()), wanted, "{model:?}");
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
