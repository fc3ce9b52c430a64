//! The decoder of the bytes that a party receives.

use std::io::{self, Read, Write};

use tungstenite::{
    Error, Message,
    error::ProtocolError,
    protocol::{Role, WebSocket},
};
use wsplice::{
    frame::{CloseCode, ControlFrame, FrameHeader, OpCode},
    tunnel::Side,
};

/// The bytes that a party received, decoded.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) texts: Vec<String>,
    pub(super) pings: Vec<Vec<u8>>,
    pub(super) pongs: Vec<Vec<u8>>,
    /// The code of the close frame, which is the last frame.
    pub(super) close: Option<Option<u16>>,
    pub(super) cut: Cut,
}

/// Where the bytes end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Cut {
    #[default]
    BetweenMessages,
    BetweenFragments,
    InFrame,
    InCloseFrame,
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

/// Decodes all that this side has received, by tungstenite, and panics where that is not WebSocket.
pub(super) fn read(side: Side, bytes: &[u8]) -> Received {
    let mut received = frames(side, bytes);
    let role = match side {
        Side::Client => Role::Client,
        _ => Role::Server,
    };
    let mut socket = WebSocket::from_raw_socket(Recorded(bytes), role, None);
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => received.texts.push(text.to_string()),
            Ok(Message::Ping(payload)) => received.pings.push(payload.to_vec()),
            Ok(Message::Pong(payload)) => received.pongs.push(payload.to_vec()),
            Ok(Message::Close(_)) => {}
            Ok(other) => panic!("the {side} got {other:?}, which was not sent"),
            Err(
                Error::ConnectionClosed
                | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
            ) => return received,
            Err(error) => panic!("the {side} got no WebSocket: {error}, {received:?}"),
        }
    }
}

/// Looks at each frame's place: a close frame is the last one (RFC 6455 §5.5.1).
fn frames(side: Side, mut bytes: &[u8]) -> Received {
    let mut received = Received::default();
    let mut is_in_message = false;
    while !bytes.is_empty() {
        let close = received.close;
        assert!(close.is_none(), "to the {side}, behind a close: {bytes:?}");
        let header = FrameHeader::parse(bytes).expect("a valid header");
        let len = header.map(|header| usize::try_from(header.frame_len()).expect("a length"));
        let (Some(header), Some(len)) = (header, len.filter(|len| *len <= bytes.len())) else {
            received.cut = match OpCode::from_bits(bytes[0]) {
                OpCode::CLOSE => Cut::InCloseFrame,
                _ => Cut::InFrame,
            };
            return received;
        };
        // RFC 6455 §5.1.
        let is_masked = header.mask().is_some();
        assert_eq!(is_masked, side == Side::Upstream, "the mask to the {side}");
        if header.opcode() == OpCode::CLOSE {
            let control = ControlFrame::parse(bytes).expect("a close frame");
            let code = control.and_then(|(control, _)| control.close_code());
            received.close = Some(code.map(CloseCode::as_u16));
        } else if !header.opcode().is_control() {
            is_in_message = !header.fin();
        }
        bytes = &bytes[len..];
    }
    if is_in_message {
        received.cut = Cut::BetweenFragments;
    }
    received
}
