//! Listening sockets that have room for all clients at once.

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted; the system has a limit of its own.
///
/// `TcpListener::bind` has room for 128, and at the beginning of a round all clients connect. Beyond
/// the room Linux lets the client believe that it is connected, drops its first bytes, and remembers
/// the connection by a SYN cookie alone. Once there is room, it accepts one that sends these bytes
/// again, but resets one that sends further bytes: thus an HTTP/2 client, whose preface is a packet
/// of its own.
const BACKLOG: u32 = 4096;

/// Listens on a free port of the loopback.
pub(crate) fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(BACKLOG).unwrap()
}
