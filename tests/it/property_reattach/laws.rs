//! The properties of a case.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
};

use tungstenite::{
    Error, Message,
    error::ProtocolError,
    protocol::{Role, WebSocket},
};
use wsplice::ReattachRefusal;

use super::{
    Plan,
    parties::{END, Endpoint, NOTICE, RESTORE, Seen, split_frame},
};

/// Messages that an endpoint received.
#[derive(Debug, Default)]
struct Received {
    texts: Vec<String>,
    pings: Vec<Vec<u8>>,
    pongs: Vec<Vec<u8>>,
    /// The number of bytes of a message that came in part.
    cut: usize,
}

/// Bytes that were received, as the stream of a decoder that sends nothing.
struct Recorded<'a>(&'a [u8]);

impl Read for Recorded<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Recorded<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decodes all that an endpoint received, by tungstenite.
fn decode(bytes: &[u8], role: Role) -> Received {
    let mut received = Received {
        cut: cut_len(bytes),
        ..Received::default()
    };
    let mut socket = WebSocket::from_raw_socket(Recorded(bytes), role, None);
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => received.texts.push(text.to_string()),
            Ok(Message::Ping(payload)) => received.pings.push(payload.to_vec()),
            Ok(Message::Pong(payload)) => received.pongs.push(payload.to_vec()),
            Ok(Message::Close(_)) => {}
            Ok(other) => panic!("{other:?} was not sent"),
            Err(
                Error::ConnectionClosed
                | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
            ) => return received,
            Err(error) => panic!("not WebSocket: {error}"),
        }
    }
}

/// The number of bytes at the end that are a part of a frame or a message.
fn cut_len(mut bytes: &[u8]) -> usize {
    let (mut in_message, mut cut) = (false, 0);
    while let Some((first, _, len)) = split_frame(bytes) {
        if first & 0x08 == 0 {
            in_message = first & 0x80 == 0;
        }
        cut = if in_message { cut + len } else { 0 };
        bytes = &bytes[len..];
    }
    cut + bytes.len()
}

/// Checks the laws of a case.
pub(super) fn check(plan: Plan, seen: &Seen) {
    let report = &seen.report;
    let changes = report.upstream_changes.len();
    assert!(
        seen.upstreams.len() <= plan.upstreams,
        "a reattachment for each loss"
    );
    assert!(changes <= seen.upstreams.len());
    check_refusal(plan, seen);
    let client = decode(&seen.client.received, Role::Client);
    let may_be_cut = report.reattach_refusal == Some(ReattachRefusal::UpstreamMessageCut);
    assert!(
        client.cut == 0 || may_be_cut,
        "the client has a part of a message"
    );
    check_client(plan, seen, &client);
    let upstreams = seen.upstreams.iter();
    let upstreams: Vec<_> = upstreams
        .map(|upstream| decode(&upstream.received, Role::Server))
        .collect();
    check_upstreams(plan, seen, &upstreams);
    check_pings(seen, &client, &upstreams);
}

fn check_refusal(plan: Plan, seen: &Seen) {
    use ReattachRefusal::{ClientMessageCut, LostAfterReplay, UpstreamMessageCut};
    match seen.report.reattach_refusal {
        None => assert_eq!(seen.upstreams.len(), plan.upstreams, "{:?}", seen.report),
        Some(ClientMessageCut | UpstreamMessageCut) => {}
        Some(LostAfterReplay) => assert!(plan.replay > 0),
        Some(other) => panic!("refused: {other}"),
    }
}

/// The client gets the messages of each upstream in order, none twice, and all of one that ended in
/// order, but those that were to be swallowed; and a notice of the host before them.
fn check_client(plan: Plan, seen: &Seen, client: &Received) {
    let mut texts = client.texts.iter().peekable();
    let mut received = 0;
    for (number, upstream) in seen.upstreams.iter().enumerate() {
        if number > seen.report.upstream_changes.len() {
            assert!(
                number + 1 == seen.upstreams.len(),
                "a handshake that was too late"
            );
            break;
        }
        if number > 0 && plan.restores {
            assert_eq!(texts.next().map(String::as_str), Some(NOTICE), "{number}");
        }
        let swallowed = match number {
            0 => 0,
            _ => plan.swallow.min(received),
        };
        let mut expected = upstream.sent.iter().skip(swallowed);
        let mut got = 0;
        while let Some(text) = texts.next_if(|text| is_of(plan, text, number)) {
            assert_eq!(Some(text), expected.next(), "of upstream {number}");
            got += 1;
        }
        received += got;
        if upstream.has_ended && seen.report.reattach_refusal.is_none() {
            assert_eq!(expected.next(), None, "upstream {number} ended in order");
        }
    }
    assert_eq!(texts.next(), None, "more came than was sent");
}

/// Whether a text is a message of this upstream.
fn is_of(plan: Plan, text: &str, number: usize) -> bool {
    text == END && number + 1 == plan.upstreams || text.starts_with(&format!("upstream {number} "))
}

/// Each upstream gets the replayed messages, the host's, then those of the client from one on that no
/// other upstream got, without a gap. Those between two upstreams were on their way to the first.
fn check_upstreams(plan: Plan, seen: &Seen, upstreams: &[Received]) {
    let sent = &seen.client.sent;
    // The most bytes of messages that were on their way to upstreams since one got any.
    let (mut next, mut on_their_way) = (0, 0);
    for (number, upstream) in upstreams.iter().enumerate() {
        let (replayed, rest) = after_opening(plan, sent, number, &upstream.texts);
        let most_missing = on_their_way;
        // It may have read a part of a message, and the rest was on its way.
        on_their_way += plan.capacity + upstream.cut;
        let Some(text) = rest.first() else { continue };
        let first = sent.iter().position(|sent| sent == text);
        let first = first.expect("a message of the client");
        assert!(first >= next, "{number} got a message of another upstream");
        if number > 0 && plan.restores {
            let expected = plan.replay.min(first);
            assert_eq!(replayed, expected, "all that was delivered is replayed");
        }
        let missing = sent[next.max(replayed)..first].iter().map(String::len);
        let missing: usize = missing.sum();
        assert!(missing <= most_missing, "{missing} bytes before {number}");
        next = first + rest.len();
        assert_eq!(sent.get(first..next), Some(rest), "at {number}");
        on_their_way = plan.capacity + upstream.cut;
        if number + 1 == plan.upstreams {
            assert_eq!(next, sent.len(), "the last upstream gets all");
        }
    }
}

/// The number of messages that were replayed to an upstream, and the messages after those and the
/// host's.
fn after_opening<'a>(
    plan: Plan,
    sent: &[String],
    number: usize,
    texts: &'a [String],
) -> (usize, &'a [String]) {
    if number == 0 {
        return (0, texts);
    }
    let replay = sent.iter().take(plan.replay).zip(texts);
    let replayed = replay.take_while(|(sent, text)| sent == text).count();
    let rest = &texts[replayed..];
    match rest.split_first() {
        Some((text, rest)) if plan.restores => {
            assert_eq!(text, RESTORE, "at {number}");
            (replayed, rest)
        }
        _ => (replayed, rest),
    }
}

/// Each ping is answered once at most, and by a pong of its own; the client's by the proxy too.
fn check_pings(seen: &Seen, client: &Received, upstreams: &[Received]) {
    answers(&seen.client, client);
    for (endpoint, received) in seen.upstreams.iter().zip(upstreams) {
        answers(endpoint, received);
    }
}

/// Checks the pongs that an endpoint received.
fn answers(endpoint: &Endpoint, received: &Received) {
    let sent: BTreeSet<_> = endpoint.pings.iter().collect();
    let got: BTreeSet<_> = received.pongs.iter().collect();
    assert_eq!(got.len(), received.pongs.len(), "a ping was answered twice");
    assert!(got.is_subset(&sent), "a pong without a ping");
}
