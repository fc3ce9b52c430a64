//! Any bytes of an upstream in response to a forwarded request, beside the strict model.
//!
//! The client gets one response: that which the model reads, or a 502; or, if the upstream broke off in the
//! middle of the body, one that the client can see to be incomplete. The next request, of another client,
//! gets its own response, on the same connection only if that may serve it.

mod client;
mod draw;
mod reuse;

use std::time::Duration;

use http::{HeaderName, HeaderValue, header::SET_COOKIE};
use wsplice::{
    ForwardHttp, Retry,
    balance::{Balance, Candidate, Candidates},
    head::RequestHead,
    headers::ClientScheme,
};

use crate::{
    parsers_kit::{
        garble::cuts,
        stage::{Upstreams, send_in_pieces, serve, settle},
        strict::{Framing, Head, Read, body, content_of_chunks},
    },
    support::{
        clock::{ms, on_a_paused_clock},
        dice::{Dice, Input},
        pipe::State,
    },
};

use super::{Model, model};

/// The cookie of the load balancing policy.
const COOKIE: &str = "up=1";

/// The response to the second request.
const SECOND: &str = "HTTP/1.1 200 OK\r\nX-Second: 1\r\nContent-Length: 6\r\n\r\nsecond";

/// The client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Get,
    Head,
    Post,
    /// The rest of the body comes behind the response.
    PostSlowly,
}

/// The end of what the upstream sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The upstream keeps the connection, and ends it after the second request.
    Late,
    InOrder,
    Reset,
}

/// A response, and the circumstances in which it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) bytes: Vec<u8>,
    cuts: Vec<usize>,
    asks: Asks,
    end: End,
    /// Time between the response and the second request; `None` if that comes with the last bytes of the
    /// response.
    pause: Option<Duration>,
    /// Whether the load balancing policy adds a cookie.
    adds_cookie: bool,
}

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Relayed,
    /// The response was relayed, and its connection served the second request.
    Reused,
    Incomplete,
    Failed,
}

impl Case {
    /// Draws a response.
    pub(crate) fn draw(dice: &mut impl Dice) -> Self {
        let bytes = draw::responses(dice);
        let cuts = cuts(dice, bytes.len());
        Self::with(bytes, cuts, dice)
    }

    /// The first bytes choose the circumstances, the others are the response.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let (choices, response) = bytes.split_at(bytes.len().min(4));
        let cuts = vec![response.len() / 3, response.len().saturating_sub(1)];
        let choices = &mut Input(choices);
        Self::with(response.to_vec(), cuts, choices)
    }

    fn with(bytes: Vec<u8>, cuts: Vec<usize>, dice: &mut impl Dice) -> Self {
        Self {
            bytes,
            cuts,
            asks: dice.pick([Asks::Get, Asks::Head, Asks::Post, Asks::PostSlowly]),
            end: dice.pick([End::Late, End::InOrder, End::Late, End::Reset]),
            pause: dice.pick([Some(ms(0)), Some(ms(1500)), None]),
            adds_cookie: dice.is_one_of(3),
        }
    }
}

/// Checks the laws, of the bytes as a whole and cut.
pub(crate) fn check(case: &Case) -> Outcome {
    fastrand::seed(7);
    let response = Response::read(case);
    if !case.cuts.is_empty() {
        check_run(case, &case.cuts, response.as_ref());
    }
    check_run(case, &[], response.as_ref())
}

fn check_run(case: &Case, cuts: &[usize], response: Option<&Response<'_>>) -> Outcome {
    let exchanges = on_a_paused_clock(run(case, cuts));
    let outcome = client::check(case, &exchanges.first, response);
    let is_reused = reuse::check(case, &exchanges, response);
    match (outcome, is_reused) {
        (Outcome::Relayed, true) => Outcome::Reused,
        (outcome, _) => outcome,
    }
}

/// The bytes that were received.
struct Exchanges {
    first: Vec<u8>,
    second: Vec<u8>,
    /// Those of each connection to the upstream.
    upstream: Vec<Vec<u8>>,
}

/// The final response, as the model reads it.
#[derive(Debug)]
struct Response<'a> {
    model: Model<'a>,
    framing: Framing,
    /// The content, and where it ends in the bytes behind the head.
    body: Read<(Vec<u8>, usize)>,
    /// Whether the trailers are malformed, of which hyper takes more than the model.
    has_odd_trailers: bool,
}

impl<'a> Response<'a> {
    fn read(case: &'a Case) -> Option<Self> {
        let model = model(&case.bytes)?;
        let framing = case.asks.framing(&model.head);
        let read = body(model.behind, framing);
        let content = match framing {
            Framing::Chunked => content_of_chunks(model.behind),
            _ => Read::Partial,
        };
        let has_odd_trailers = matches!((&read, content), (Read::Malformed(_), Read::Whole(_)));
        Some(Self {
            model,
            framing,
            body: read,
            has_odd_trailers,
        })
    }

    fn head(&self) -> &Head {
        &self.model.head
    }

    fn status(&self) -> u16 {
        let line = self.head().status_line();
        line.expect("a status line").0
    }
}

impl Asks {
    /// The request, and the part of it that comes behind the response.
    fn request(self) -> (String, &'static str) {
        let (method, lines, now, later) = match self {
            Self::Get => ("GET", "", "", ""),
            Self::Head => ("HEAD", "", "", ""),
            Self::Post => ("POST", "Content-Length: 5\r\n", "hello", ""),
            Self::PostSlowly => ("POST", "Content-Length: 5\r\n", "he", "llo"),
        };
        let head = format!(
            "{method} /first HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\
             Connection: TE\r\n{lines}\r\n{now}"
        );
        (head, later)
    }

    /// The length of the body of a response with this head (RFC 9112 §6.3).
    fn framing(self, head: &Head) -> Framing {
        match self {
            Self::Head => Framing::None,
            Self::Get | Self::Post | Self::PostSlowly => head.response_framing(),
        }
    }
}

async fn run(case: &Case, cuts: &[usize]) -> Exchanges {
    let upstreams = Upstreams::new(respond_to_second);
    let layer = upstreams
        .layer()
        .forward_http(ForwardHttp::new())
        .retry(Retry::new().only_on([]));
    let proxy = match case.adds_cookie {
        true => layer.balance(WithCookie).into_service(),
        false => layer.into_service(),
    };
    let first = serve(proxy.clone());
    let (request, later) = case.asks.request();
    first.send(request.as_bytes());
    tokio::time::sleep(ms(1)).await;
    let leg = upstreams.legs().remove(0);

    let last = match case.pause {
        Some(_) => case.bytes.len(),
        None => cuts.last().copied().unwrap_or_default(),
    };
    send_in_pieces(&leg, &case.bytes[..last], cuts).await;
    leg.send(&case.bytes[last..]);
    match case.end {
        End::InOrder => leg.finish(),
        // A reset takes away the bytes that were not read.
        End::Reset if case.pause.is_some() => leg.reset(),
        End::Reset | End::Late => {}
    }
    if let Some(pause) = case.pause {
        tokio::time::sleep(pause).await;
    }
    let second = serve(proxy);
    second.send(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n");
    tokio::time::sleep(ms(1)).await;

    first.send(later.as_bytes());
    leg.finish();
    settle().await;
    first.finish();
    second.finish();
    settle().await;
    let received = (
        first.state().received.clone(),
        second.state().received.clone(),
    );
    Exchanges {
        first: received.0,
        second: received.1,
        upstream: upstreams.received(),
    }
}

/// Responds to the second request, on whichever connection it comes.
fn respond_to_second(state: &mut State) -> bool {
    let is_asked = has_second(&state.received);
    if is_asked {
        state.send(SECOND.as_bytes());
    }
    is_asked
}

/// Whether these bytes of the proxy end with the second request.
fn has_second(received: &[u8]) -> bool {
    let line = b"GET /second HTTP/1.1\r\n";
    let mut windows = received.windows(line.len());
    windows.any(|window| window == line) && received.ends_with(b"\r\n\r\n")
}

/// A policy that adds a cookie to each response.
struct WithCookie;

impl Balance for WithCookie {
    fn pick(&self, _: &Candidates<'_>, _: &RequestHead<'_>) -> Option<usize> {
        Some(0)
    }

    fn response_header(
        &self,
        _: &Candidate<'_>,
        _: &RequestHead<'_>,
        _: ClientScheme,
    ) -> Option<(HeaderName, HeaderValue)> {
        Some((SET_COOKIE, HeaderValue::from_static(COOKIE)))
    }
}
