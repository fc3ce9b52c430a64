//! Memory of a tunnel while a side does not read.
//!
//! The tunnel is driven by hand, so that the test can inspect it between two polls.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
};
use wsplice::{
    TunnelReport,
    connect::Transport,
    tunnel::{Side, Tunnel},
};

use crate::support::{
    deadline::within,
    frames,
    rng::{Checksum, payload},
    tunnels::{BOTH, encoded_by},
};

/// The most that a tunnel may hold for one direction: one read, which is at most 256 KiB by default.
const BOUND: usize = 256 * 1024;

/// Sends until the tunnel takes no more, checks the size of its memory, and then reads it all.
async fn stalls<S>(near: (S, S), far: (S, S), from: Side, bytes: &[u8])
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut tunnel = Box::pin(Tunnel::new(Transport::new(near.0), Transport::new(near.1)));
    assert_eq!(tunnel.buffered(), 0);
    let (mut speaker, mut sleeper) = match from {
        Side::Client => far,
        _ => (far.1, far.0),
    };

    let sent = send_until_stalled(&mut tunnel, &mut speaker, bytes).await;
    assert!(sent < bytes.len(), "nothing held the sender up");
    let buffered = tunnel.buffered();
    assert!((1..=BOUND).contains(&buffered), "{buffered} bytes held");

    // The sleeper wakes up: all arrives, and the tunnel holds nothing any more.
    let rest = &bytes[sent..];
    let all = {
        let reading = async {
            let mut all = vec![0; bytes.len()];
            sleeper.read_exact(&mut all).await.expect("all bytes");
            all
        };
        let sending = async { speaker.write_all(rest).await.expect("the rest to go") };
        let both = async { tokio::join!(reading, sending).0 };
        within("all to arrive", beside(&mut tunnel, both)).await
    };
    assert_eq!(Checksum::of(&all), Checksum::of(bytes));
    assert_eq!(tunnel.buffered(), 0);
}

/// Writes, and polls the tunnel, until neither moves any more; how many bytes were taken.
///
/// "No more" is settled without a clock: the receiver never reads, so once the sender's writes have
/// been pending while the tunnel's own write was, nothing is left to wake either.
async fn send_until_stalled<S>(
    tunnel: &mut Pin<Box<Tunnel>>,
    speaker: &mut S,
    bytes: &[u8],
) -> usize
where
    S: AsyncWrite + Unpin,
{
    let mut sent = 0;
    let mut stalled = 0;
    while sent < bytes.len() && stalled < 1000 {
        let step = poll_fn(|cx| {
            assert!(tunnel.as_mut().poll(cx).is_pending(), "the tunnel ended");
            match Pin::new(&mut *speaker).poll_write(cx, &bytes[sent..]) {
                Poll::Ready(written) => Poll::Ready(written.expect("the tunnel to live")),
                Poll::Pending => Poll::Ready(0),
            }
        })
        .await;
        sent += step;
        // The kernel moves bytes between its buffers by itself: give it and the reactor turns.
        stalled = if step == 0 { stalled + 1 } else { 0 };
        tokio::task::yield_now().await;
    }
    sent
}

/// Runs the tunnel beside a future, up to the future's end.
async fn beside<T>(tunnel: &mut Pin<Box<Tunnel>>, future: impl Future<Output = T>) -> T {
    let ended = |report: TunnelReport| panic!("the tunnel ended: {report:?}");
    let output = tokio::select! {
        biased;
        report = tunnel.as_mut() => ended(report),
        output = future => output,
    };
    // The tunnel learns of the last bytes' way.
    poll_fn(|cx| Poll::Ready(tunnel.as_mut().poll(cx).is_pending())).await;
    output
}

fn pipes() -> ((DuplexStream, DuplexStream), (DuplexStream, DuplexStream)) {
    let (client, far_client) = duplex(4096);
    let (upstream, far_upstream) = duplex(4096);
    ((client, upstream), (far_client, far_upstream))
}

async fn sockets() -> ((TcpStream, TcpStream), (TcpStream, TcpStream)) {
    let (client, far_client) = connected().await;
    let (upstream, far_upstream) = connected().await;
    ((client, upstream), (far_client, far_upstream))
}

/// Both ends of a connection with small buffers in the kernel.
async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let (far, near) = tokio::join!(TcpStream::connect(addr), listener.accept());
    let (far, (near, _)) = (far.expect("a connection"), near.expect("a connection"));
    for stream in [&far, &near] {
        let socket = SockRef::from(stream);
        socket.set_recv_buffer_size(64 << 10).expect("SO_RCVBUF");
        socket.set_send_buffer_size(64 << 10).expect("SO_SNDBUF");
    }
    (near, far)
}

fn one_large_frame(from: Side) -> Vec<u8> {
    encoded_by(from, frames::binary(&payload(1, 8 << 20)))
}

fn many_small_frames(from: Side) -> Vec<u8> {
    (0..40_000)
        .flat_map(|seed| encoded_by(from, frames::binary(&payload(seed, 200))))
        .collect()
}

#[tokio::test]
async fn a_stalled_reader_holds_up_the_sender_on_sockets() {
    for from in BOTH {
        for bytes in [one_large_frame(from), many_small_frames(from)] {
            let (near, far) = sockets().await;
            stalls(near, far, from, &bytes).await;
        }
    }
}

#[tokio::test]
async fn a_stalled_reader_holds_up_the_sender_in_memory() {
    for from in BOTH {
        for bytes in [one_large_frame(from), many_small_frames(from)] {
            let (near, far) = pipes();
            stalls(near, far, from, &bytes).await;
        }
    }
}

/// A stalled direction does not hold up the other, whose bytes go the same way back.
#[tokio::test]
async fn the_other_direction_goes_on_while_one_is_stalled() {
    for from in BOTH {
        let (near, (far_client, far_upstream)) = sockets().await;
        let mut tunnel = Box::pin(Tunnel::new(near.0, near.1));
        let (mut speaker, mut sleeper, back) = match from {
            Side::Client => (far_client, far_upstream, Side::Upstream),
            _ => (far_upstream, far_client, Side::Client),
        };
        let sent = send_until_stalled(&mut tunnel, &mut speaker, &one_large_frame(from)).await;
        assert!(sent > 0);
        for seed in 0..50 {
            let frame = encoded_by(back, frames::binary(&payload(seed, 20_000)));
            let passing = async {
                sleeper.write_all(&frame).await.expect("to be taken");
                let mut got = vec![0; frame.len()];
                speaker.read_exact(&mut got).await.expect("the frame");
                got
            };
            let got = within("a frame the other way", beside(&mut tunnel, passing)).await;
            assert!(got == frame);
        }
        assert!(tunnel.buffered() <= BOUND);
    }
}

#[tokio::test]
async fn a_quiet_tunnel_holds_nothing() {
    let (near, (mut client, mut upstream)) = pipes();
    let mut tunnel = Box::pin(Tunnel::new(Transport::new(near.0), Transport::new(near.1)));
    for side in BOTH {
        let frame = encoded_by(side, frames::binary(&payload(1, 3000)));
        let (speaker, hearer) = match side {
            Side::Client => (&mut client, &mut upstream),
            _ => (&mut upstream, &mut client),
        };
        let mut got = vec![0; frame.len()];
        let passing = async {
            let (sent, read) = tokio::join!(speaker.write_all(&frame), hearer.read_exact(&mut got));
            sent.and(read.map(drop)).expect("the frame to pass");
        };
        within("a frame", beside(&mut tunnel, passing)).await;
        assert_eq!(tunnel.buffered(), 0);
    }
}
