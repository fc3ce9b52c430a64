//! The exchange of messages with the next upstream before the tunnel goes on with it.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    frame::{FrameHeader, OpCode},
    tunnel::reattach::ReattachRefusal,
};

use super::running_session::NextLeg;

/// The most bytes that an upstream may send before the awaited messages are there.
const MOST: usize = 64 * 1024;

/// Sends the host's messages up to the last wait, and waits for the upstream's. These become read-ahead
/// bytes, and go to the client unless they are swallowed.
///
/// # Errors
///
/// When the upstream closes, breaks or sends too much.
pub(super) async fn restore(next: &mut NextLeg) -> Result<(), ReattachRefusal> {
    let stages = next.restoration.take_stages();
    if stages.is_empty() {
        return Ok(());
    }
    let refused = |_| ReattachRefusal::Refused;
    let mut received = BytesMut::from(&*next.read_ahead);
    let mut expected = 0;
    for (frames, awaited) in stages {
        next.transport.write_all(&frames).await.map_err(refused)?;
        next.transport.flush().await.map_err(refused)?;
        expected += awaited;
        while whole_messages(&received)? < expected {
            if received.len() >= MOST {
                return Err(ReattachRefusal::SwallowTooLarge);
            }
            let read = next.transport.read_buf(&mut received).await;
            if read.map_err(refused)? == 0 {
                return Err(ReattachRefusal::Refused);
            }
        }
    }
    // A copy of the right size.
    next.read_ahead = Bytes::copy_from_slice(&received);
    Ok(())
}

/// Counts the whole messages in these bytes, which begin with a frame.
fn whole_messages(mut bytes: &[u8]) -> Result<usize, ReattachRefusal> {
    let mut messages = 0;
    while let Ok(Some(header)) = FrameHeader::parse(bytes) {
        let len = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
        let Some(rest) = bytes.get(len..) else {
            break;
        };
        match header.opcode() {
            OpCode::CLOSE => return Err(ReattachRefusal::Refused),
            opcode if header.fin() && !opcode.is_control() => messages += 1,
            _ => {}
        }
        bytes = rest;
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_their_last_frames() {
        // A text in two fragments with a ping between them, an empty binary, a part of a text.
        let bytes = [0x01, 1, b'a', 0x89, 0, 0x80, 0, 0x82, 0, 0x81, 2, b'c'];
        let counts: Vec<_> = (0..=bytes.len())
            .map(|len| whole_messages(&bytes[..len]))
            .collect();
        let expected = [0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2].map(Ok);
        assert_eq!(counts, expected);
        let close = [0x82, 0, 0x88, 0];
        assert_eq!(whole_messages(&close), Err(ReattachRefusal::Refused));
    }
}
