//! Control frames, and the bytes of a connection's far end.

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

/// First bytes of control frames (RFC 6455 §5.2).
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8A;

pub(crate) async fn send(from: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    from.write_all(bytes).await.unwrap();
}

/// Ends one direction, and waits until the end has passed.
pub(crate) async fn finish(from: &mut DuplexStream, to: &mut DuplexStream) {
    from.shutdown().await.unwrap();
    assert_eq!(to.read(&mut [0]).await.unwrap(), 0);
}

/// The payload of the control frame that comes next, which is of this kind.
pub(crate) async fn read_control(stream: &mut DuplexStream, kind: u8) -> Vec<u8> {
    let mut bytes = [0; 32];
    let len = stream.read(&mut bytes).await.unwrap();
    let (is_masked, payload_len) = (bytes[1] & 0x80 != 0, bytes[1] & 0x7F);
    let header_len = if is_masked { 6 } else { 2 };
    assert_eq!(
        (bytes[0], len),
        (kind, header_len + usize::from(payload_len))
    );
    let mut payload = bytes[header_len..len].to_vec();
    if is_masked {
        for (byte, key) in payload.iter_mut().zip(bytes[2..6].iter().cycle()) {
            *byte ^= key;
        }
    }
    payload
}

/// A control frame of the upstream's.
pub(crate) fn unmasked(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, payload.len() as u8], payload].concat()
}

/// A control frame of the client's, under a key of zeros.
pub(crate) fn masked(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}
