//! The client's side of HTTP/2, as little of it as will do: the kernel's socket is all it owns.

use std::{
    cell::RefCell,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    rc::Rc,
};

use crate::wire::{self, read};

/// Types and flags of frames, RFC 9113 §6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// Clients that share one connection.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    connection: Option<Rc<RefCell<TcpStream>>>,
    tunnels: u32,
}

/// A stream that has become a tunnel (RFC 8441 §5).
#[derive(Debug)]
pub(crate) struct Stream {
    connection: Rc<RefCell<TcpStream>>,
    id: u32,
}

impl crate::Clients for Clients {
    type Open = Stream;
    type Quiet = Stream;

    /// Sends an extended `CONNECT`, and waits for the 200 (RFC 8441 §4).
    fn connect(&mut self, addr: SocketAddr) -> Stream {
        let connection = Rc::clone(self.connection.get_or_insert_with(|| connect(addr)));
        let id = 2 * self.tunnels + 1;
        self.tunnels += 1;
        let mut tcp = connection.borrow_mut();
        write_frame(&mut tcp, HEADERS, END_HEADERS, id, &header_block());
        let block = read_frame(&mut tcp, HEADERS, id);
        // `:status: 200` is entry 8 of the static table (RFC 7541 appendix A).
        assert_eq!(block.first(), Some(&0x88));
        drop(tcp);
        Stream { connection, id }
    }

    fn quieten(open: Stream) -> Stream {
        open
    }
}

fn connect(addr: SocketAddr) -> Rc<RefCell<TcpStream>> {
    let mut tcp = wire::connect(addr);
    tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    write_frame(&mut tcp, SETTINGS, 0, 0, &[]);
    Rc::new(RefCell::new(tcp))
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_frame(&mut self.connection.borrow_mut(), DATA, 0, self.id, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    /// One frame; it must fit.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let frame = read_frame(&mut self.connection.borrow_mut(), DATA, self.id);
        bytes[..frame.len()].copy_from_slice(&frame);
        Ok(frame.len())
    }
}

/// A header block of literal fields that no table remembers (RFC 7541 §6.2.2).
fn header_block() -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/ws/room"),
        (":authority", "app.test"),
        ("sec-websocket-version", "13"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

fn write_frame(tcp: &mut TcpStream, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    let header = [a, b, c, kind, flags, d, e, f, g];
    tcp.write_all(&[&header, payload].concat()).unwrap();
}

/// The payload of the next frame of this kind on this stream. Settings are acknowledged; other
/// frames of the connection are skipped.
fn read_frame(tcp: &mut TcpStream, wanted: u8, wanted_stream: u32) -> Vec<u8> {
    loop {
        let [a, b, c, kind, flags, d, e, f, g] = read(tcp);
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        tcp.read_exact(&mut payload).unwrap();
        let stream = u32::from_be_bytes([d, e, f, g]);
        if (kind, stream) == (wanted, wanted_stream) {
            return payload;
        }
        assert_eq!(stream, 0, "frame {kind} of stream {stream}");
        if kind == SETTINGS && flags & ACK == 0 {
            write_frame(tcp, SETTINGS, ACK, 0, &[]);
        }
    }
}
