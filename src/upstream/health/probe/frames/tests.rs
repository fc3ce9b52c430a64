//! Any bytes of an upstream behind its 101, beside a reader that has all of them.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*, sample::select};
use tokio::io::duplex;

use crate::{net::connect::Address, upstream::health::probe::testing::Refusing};

use super::*;

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Text(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Lost,
    Violation,
}

/// What a probe saw, the payloads of the pings, and the end.
type Seen = (Vec<Event>, Vec<Vec<u8>>, End);

/// A frame's bytes: its header, and the rest of it.
struct Frame<'a> {
    fin: bool,
    opcode: u8,
    payload: &'a [u8],
    rest: &'a [u8],
}

/// Reads whole frames by RFC 6455 §5.2.
fn frame(bytes: &[u8], has_open_message: bool) -> Result<Frame<'_>, End> {
    let [first, second, rest @ ..] = bytes else {
        return Err(End::Lost);
    };
    let (fin, opcode, short) = (first & 0x80 != 0, first & 0x0F, second & 0x7F);
    let len_bytes = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
    if rest.len() < len_bytes + mask_bytes {
        return Err(End::Lost);
    }
    let (len, rest) = rest.split_at(len_bytes);
    let len = match len_bytes {
        0 => u64::from(short),
        _ => len.iter().fold(0, |len, byte| len << 8 | u64::from(*byte)),
    };
    let least = [0, 0, 126, 0, 0, 0, 0, 0, 65536][len_bytes];
    let may_come = match opcode {
        0 => has_open_message,
        1 | 2 => !has_open_message,
        8 => fin && len != 1 && len < 126,
        9 | 10 => fin && len < 126,
        _ => false,
    };
    if first & 0x70 != 0 || mask_bytes > 0 || len < least || len >> 63 != 0 || !may_come {
        return Err(End::Violation);
    }
    let payload = usize::try_from(len)
        .ok()
        .and_then(|len| rest.split_at_checked(len));
    let (payload, rest) = payload.ok_or(End::Lost)?;
    Ok(Frame {
        fin,
        opcode,
        payload,
        rest,
    })
}

fn wanted(mut bytes: &[u8]) -> Seen {
    let (mut events, mut pings) = (Vec::new(), Vec::new());
    let mut message: Option<(bool, Vec<u8>)> = None;
    loop {
        let frame = match frame(bytes, message.is_some()) {
            Ok(frame) => frame,
            Err(end) => return (events, pings, end),
        };
        bytes = frame.rest;
        match frame.opcode {
            8 => {
                let code = frame
                    .payload
                    .first_chunk()
                    .map(|code| u16::from_be_bytes(*code));
                events.push(Event::Close(code));
                return (events, pings, End::Closed);
            }
            9 => pings.push(frame.payload.to_vec()),
            10 => events.push(Event::Pong(frame.payload.to_vec())),
            opcode => {
                let (is_text, mut content) = message.take().unwrap_or((opcode == 1, Vec::new()));
                content.extend_from_slice(frame.payload);
                match (frame.fin, is_text) {
                    (true, true) => events.push(Event::Text(content)),
                    (true, false) => {}
                    (false, _) => message = Some((is_text, content)),
                }
            }
        }
    }
}

/// Lets a probe read these bytes: those ahead of the first cut with the 101, the others in pieces.
async fn seen(bytes: &[u8], cuts: &[usize]) -> Seen {
    let (near, mut far) = duplex(64 * 1024);
    let target = ProbeTarget::new(
        Address::tcp("upstream", 80),
        Arc::new(Refusing(io::ErrorKind::ConnectionRefused)),
    );
    let mut cuts = cuts
        .iter()
        .map(|cut| cut % (bytes.len() + 1))
        .collect::<Vec<_>>();
    cuts.sort_unstable();
    let ahead = cuts.first().copied().unwrap_or_default();
    let probe = async {
        let mut frames = Frames::new(Transport::new(near), &bytes[..ahead], &target);
        let mut events = Vec::new();
        loop {
            match frames.next().await {
                Ok(Received::Text(text)) => events.push(Event::Text(text)),
                Ok(Received::Pong(pong)) => events.push(Event::Pong(pong.payload().to_vec())),
                Ok(Received::Close(code)) => {
                    events.push(Event::Close(code.map(CloseCode::as_u16)));
                    return (events, End::Closed);
                }
                Err(ProbeFailure::Lost(_)) => return (events, End::Lost),
                Err(ProbeFailure::Violation(_)) => return (events, End::Violation),
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    let upstream = async {
        let mut at = ahead;
        for cut in cuts.into_iter().chain([bytes.len()]) {
            // A probe that has seen enough no longer reads.
            let _ = far.write_all(&bytes[at..cut]).await;
            at = cut;
            tokio::task::yield_now().await;
        }
        let _ = far.shutdown().await;
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        sent
    };
    let ((events, end), sent) = tokio::join!(probe, upstream);
    (events, pongs(&sent), end)
}

/// The payloads of the pongs, which are all that a probe sends by itself.
fn pongs(mut sent: &[u8]) -> Vec<Vec<u8>> {
    let mut pongs = Vec::new();
    while let [0x8A, len, k0, k1, k2, k3, rest @ ..] = sent {
        let (payload, rest) = rest.split_at(usize::from(len & 0x7F));
        let mut payload = payload.to_vec();
        mask::apply(&mut payload, [*k0, *k1, *k2, *k3], 0);
        pongs.push(payload);
        sent = rest;
    }
    assert!(sent.is_empty(), "{sent:?}");
    pongs
}

fn frame_bytes() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        9 => select(vec![0x81, 0x01, 0x02, 0x82, 0x80, 0x00, 0x89, 0x8A, 0x89, 0x8A]),
        1 => select(vec![0x88]),
        1 => any::<u8>(),
    ];
    let len = prop_oneof![4 => 0_usize..8, 1 => select(vec![125, 126, 130])];
    let faults = prop_oneof![12 => Just(0_u8), 1 => 1_u8..4];
    (first, len, faults, any::<u8>()).prop_map(|(first, len, fault, byte)| {
        let mut frame = vec![first];
        match (fault, len) {
            // A length in more bytes than it needs.
            (1, _) => frame.extend([126, 0, len as u8]),
            (2, _) => frame.extend([127, 0x80, 0, 0, 0, 0, 0, 0, len as u8]),
            (3, _) => frame.push(0x80 | len.min(125) as u8),
            (_, ..126) => frame.push(len as u8),
            _ => frame.extend([126, 0, len as u8]),
        }
        frame.resize(frame.len() + len, byte);
        frame
    })
}

proptest! {
    #[test]
    fn a_probe_sees_the_messages_of_an_upstream_however_they_are_cut(
        frames in vec(frame_bytes(), 0..8),
        tail in vec(any::<u8>(), 0..4),
        cuts in vec(any::<usize>(), 0..5),
    ) {
        let bytes = [frames.concat(), tail].concat();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        prop_assert_eq!(runtime.block_on(seen(&bytes, &cuts)), wanted(&bytes));
    }
}
