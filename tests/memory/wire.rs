//! Heads and frames of a connection, written and read by hand.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Time limit of every step; never the thing under test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// A masked text frame "hi", and an unmasked one.
pub(crate) const UP: [u8; 8] = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
pub(crate) const DOWN: [u8; 4] = [0x81, 0x02, b'h', b'i'];

pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Performs the handshake over HTTP/1.1.
pub(crate) fn shake_hands(stream: &mut (impl Read + Write)) {
    let request = "GET /ws/room HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let answer = read_head(stream);
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
}

pub(crate) fn read<const N: usize>(stream: &mut impl Read) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads a head byte by byte, so that nothing behind it is taken.
pub(crate) fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend_from_slice(&read::<1>(stream));
    }
    String::from_utf8(head).unwrap()
}

/// The value of a header in a head, which must have it.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(other, _)| other.eq_ignore_ascii_case(name));
    found.unwrap().1
}
