//! The upstream: a server of WebSockets and of plain HTTP that does as little as it can.

use std::{cell::RefCell, io, net::SocketAddr};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use tungstenite::handshake::derive_accept_key;
use wsplice::frame::{ControlFrame, FrameHeader, OpCode, Scanner};

use crate::{bulk, error::Result, http, wire};

/// Payload of the messages of `/source`, in bytes.
pub const SOURCE_MESSAGE: usize = 1024 * 1024;

/// Serves until dropped.
pub async fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let _ = tunnel(stream).await;
        });
    }
}

async fn tunnel(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (head, rest) = wire::read_head(&mut stream).await?;
    let (head, rest) = http::respond(&mut stream, head, rest).await?;
    let key = wire::header(&head, "sec-websocket-key").unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    drop(head);
    stream.write_all(answer.as_bytes()).await?;
    drop(answer);
    match path.as_str() {
        "/source" => source(stream).await,
        "/flood" => flood(stream),
        "/sink" => sink(stream).await,
        _ => echo(stream, rest).await,
    }
}

async fn source(mut stream: TcpStream) -> io::Result<()> {
    let frame = wire::server_frame(SOURCE_MESSAGE);
    loop {
        stream.write_all(&frame).await?;
    }
}

/// `/source` on the thread of low priority.
fn flood(stream: TcpStream) -> io::Result<()> {
    let stream = stream.into_std()?;
    let bulk = bulk::handle().map_err(io::Error::other)?;
    bulk.spawn(async move {
        // It ends with the connection.
        let _ = source(TcpStream::from_std(stream)?).await;
        io::Result::Ok(())
    });
    Ok(())
}

async fn sink(stream: TcpStream) -> io::Result<()> {
    while read_shared(&stream, <[u8]>::len).await? != 0 {}
    Ok(())
}

async fn echo(mut stream: TcpStream, rest: Vec<u8>) -> io::Result<()> {
    let mut echo = Echo::default();
    echo.take(&rest);
    loop {
        if !echo.out.is_empty() {
            stream.write_all(&echo.out).await?;
            echo.out.clear();
        }
        let read = read_shared(&stream, |bytes| {
            echo.take(bytes);
            bytes.len()
        });
        if read.await? == 0 {
            return Ok(());
        }
    }
}

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; 256 * 1024].into());
}

/// Reads into the thread's buffer and passes the bytes on; they are empty at the end.
async fn read_shared<T>(stream: &TcpStream, mut show: impl FnMut(&[u8]) -> T) -> io::Result<T> {
    loop {
        stream.readable().await?;
        let read: io::Result<T> = BUFFER.with_borrow_mut(|buffer| {
            let len = stream.try_read(buffer)?;
            Ok(show(&buffer[..len]))
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// Turns a client's frames into a server's. The load masks with zeros, pings of a proxy are
/// answered.
#[derive(Default)]
struct Echo {
    scanner: Scanner,
    /// A ping that is being read: its key, and its payload so far.
    ping: Option<([u8; 4], Vec<u8>)>,
    out: Vec<u8>,
}

impl Echo {
    fn take(&mut self, mut input: &[u8]) {
        loop {
            let to_come = usize::try_from(self.scanner.remaining()).unwrap_or(usize::MAX);
            let (payload, _) = input.split_at(to_come.min(input.len()));
            match &mut self.ping {
                Some((_, so_far)) => so_far.extend_from_slice(payload),
                None => self.out.extend_from_slice(payload),
            }
            self.scanner.skip_payload(&mut input);
            if self.scanner.remaining() == 0 {
                self.pong();
            }
            match self.scanner.next(&mut input) {
                Ok(Some(header)) => self.begin(&header),
                _ => return,
            }
        }
    }

    fn begin(&mut self, header: &FrameHeader) {
        if header.opcode() == OpCode::PING {
            self.ping = Some((header.mask().unwrap_or_default(), Vec::new()));
            return;
        }
        if let Ok(mine) = FrameHeader::new(header.opcode(), header.payload_len()) {
            self.out.extend_from_slice(&mine.encode());
        }
    }

    fn pong(&mut self) {
        if let Some((key, mut payload)) = self.ping.take() {
            wsplice::frame::mask::apply(&mut payload, key, 0);
            if let Ok(pong) = ControlFrame::new(OpCode::PONG, &payload) {
                self.out.extend_from_slice(&pong.encode(None));
            }
        }
    }
}
