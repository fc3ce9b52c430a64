//! The far end that the proxy leads to.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use tungstenite::handshake::derive_accept_key;

use crate::wire::{DEADLINE, header, read_head};

/// An upstream that accepts every handshake and gives its connections to the test.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    pub(crate) accepted: mpsc::Receiver<TcpStream>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        // Bounded: a queue of one is allocated once.
        let (give, accepted) = mpsc::sync_channel(1);
        // The thread ends with the process, or when the receiver of its connections is gone.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                stream.set_nodelay(true).unwrap();
                let head = read_head(&mut stream);
                let key = header(&head, "sec-websocket-key");
                let accept = derive_accept_key(key.as_bytes());
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).unwrap();
                if give.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { addr, accepted }
    }
}
