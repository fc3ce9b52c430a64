//! The two raw TCP relays: the floor, and the obvious implementation.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use tokio_rustls::TlsAcceptor;

use crate::error::Result;

/// `copy_bidirectional`: two buffers of 8 KiB for each tunnel.
pub async fn copy(listener: TcpListener, upstream: SocketAddr) -> Result<()> {
    serve(listener, upstream, |mut client, mut upstream| async move {
        let _ = copy_bidirectional(&mut client, &mut upstream).await;
    })
    .await
}

/// One task for each tunnel, one read buffer for each thread.
pub async fn shared(listener: TcpListener, upstream: SocketAddr) -> Result<()> {
    serve(listener, upstream, relay).await
}

/// The same, behind TLS on the client's leg.
pub async fn shared_tls(
    listener: TcpListener,
    upstream: SocketAddr,
    tls: TlsAcceptor,
) -> Result<()> {
    serve(listener, upstream, move |client, upstream| {
        let accepting = tls.accept(client);
        async move {
            if let Ok(client) = accepting.await {
                relay(client, upstream).await;
            }
        }
    })
    .await
}

async fn relay<C>(mut client: C, mut upstream: TcpStream)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Pump::default(), Pump::default());
    let _ = poll_fn(|cx| {
        let up = up.poll(cx, &mut client, &mut upstream)?;
        let down = down.poll(cx, &mut upstream, &mut client)?;
        match (up, down) {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(io::Result::Ok(())),
            _ => Poll::Pending,
        }
    })
    .await;
}

async fn serve<F, Fut>(listener: TcpListener, upstream: SocketAddr, tunnel: F) -> Result<()>
where
    F: Fn(TcpStream, TcpStream) -> Fut + Send + Clone + 'static,
    Fut: Future<Output = ()> + Send,
{
    loop {
        let (client, _) = listener.accept().await?;
        let tunnel = tunnel.clone();
        tokio::spawn(async move {
            let _ = client.set_nodelay(true);
            if let Ok(upstream) = TcpStream::connect(upstream).await {
                let _ = upstream.set_nodelay(true);
                tunnel(client, upstream).await;
            }
        });
    }
}

const BUFFER: usize = 256 * 1024;

thread_local! {
    static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into());
}

/// One direction. It holds bytes of its own only while the sink takes none.
#[derive(Default)]
struct Pump {
    leftover: Vec<u8>,
    /// TLS may hold bytes back that the sink did not take.
    is_unflushed: bool,
    has_ended: bool,
    is_done: bool,
}

impl Pump {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<Poll<()>> {
        match self.poll_result(cx, source, sink) {
            Poll::Ready(result) => result.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn poll_result(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        if self.is_done {
            return Poll::Ready(Ok(()));
        }
        SHARED.with_borrow_mut(|buffer| {
            loop {
                while !self.leftover.is_empty() {
                    let taken = ready!(Pin::new(&mut *sink).poll_write(cx, &self.leftover))?;
                    self.leftover.drain(..taken);
                    if self.leftover.is_empty() {
                        self.leftover = Vec::new();
                    }
                }
                if self.is_unflushed {
                    ready!(Pin::new(&mut *sink).poll_flush(cx))?;
                    self.is_unflushed = false;
                }
                if self.has_ended {
                    ready!(Pin::new(&mut *sink).poll_shutdown(cx))?;
                    self.is_done = true;
                    return Poll::Ready(Ok(()));
                }
                let mut read = ReadBuf::new(buffer);
                ready!(Pin::new(&mut *source).poll_read(cx, &mut read))?;
                let mut bytes = read.filled();
                self.has_ended = bytes.is_empty();
                self.is_unflushed = true;
                while !bytes.is_empty() {
                    match Pin::new(&mut *sink).poll_write(cx, bytes)? {
                        Poll::Ready(taken) => bytes = &bytes[taken..],
                        Poll::Pending => {
                            self.leftover = bytes.to_vec();
                            return Poll::Pending;
                        }
                    }
                }
            }
        })
    }
}
