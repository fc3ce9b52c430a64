//! Ready-made scripts for [`RawUpstream`](super::upstream::RawUpstream).
//!
//! All of them tolerate a client that leaves at any time: that ends the script, not the test.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use super::head::Head;
use super::rng;
use super::upstream::{RawConn, switching_protocols, switching_protocols_with};

/// The part of a script after its response.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// Sends back every byte, until the other side is done.
    Echo,
    /// Reads and drops every byte, until the other side is done.
    Hold,
    /// Closes at once.
    Close,
}

/// A script in progress.
pub(crate) type Running = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Reads a request head, sends the bytes that `answer` returns at once, and goes on with `then`.
pub(crate) fn answer<A>(answer: A, then: Then) -> impl Fn(RawConn) -> Running
where
    A: Fn(&Head) -> Vec<u8> + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    move |mut conn| {
        let answer = answer.clone();
        Box::pin(async move {
            let Some(head) = conn.try_read_request_head().await else {
                return Ok(());
            };
            conn.try_send(&answer(&head)).await?;
            go_on(conn, then).await
        })
    }
}

/// Sends the same bytes in response to every request.
pub(crate) fn fixed(bytes: impl Into<Vec<u8>>, then: Then) -> impl Fn(RawConn) -> Running {
    let bytes = bytes.into();
    answer(move |_| bytes.clone(), then)
}

/// Accepts the handshake and sends back every byte after it.
pub(crate) fn echo() -> impl Fn(RawConn) -> Running {
    accept(&[])
}

/// Accepts the handshake with further headers, offered or not, and sends back every byte after it.
pub(crate) fn accept(
    extra: &'static [(&'static str, &'static str)],
) -> impl Fn(RawConn) -> Running {
    answer(|head| switching_protocols(head, extra), Then::Echo)
}

/// Accepts the handshake with `first` in the same segment, and sends back every byte after it.
pub(crate) fn accept_and(first: impl Into<Vec<u8>>) -> impl Fn(RawConn) -> Running {
    let first = first.into();
    answer(
        move |head| [switching_protocols(head, &[]), first.clone()].concat(),
        Then::Echo,
    )
}

/// [`accept_and`], but sends one byte at a time.
pub(crate) fn dribble(first: impl Into<Vec<u8>>) -> impl Fn(RawConn) -> Running {
    let first = first.into();
    move |mut conn| {
        let first = first.clone();
        Box::pin(async move {
            let Some(head) = conn.try_read_request_head().await else {
                return Ok(());
            };
            for byte in [switching_protocols(&head, &[]), first].concat() {
                conn.try_send(&[byte]).await?;
                // Lets the reader take this byte before the next one is written.
                tokio::task::yield_now().await;
            }
            go_on(conn, Then::Echo).await
        })
    }
}

/// Accepts the handshake with about `len` bytes of further headers.
pub(crate) fn huge_headers(len: usize) -> impl Fn(RawConn) -> Running {
    let line = "p".repeat(1000);
    answer(
        move |head| {
            let padding = vec![("X-Padding", line.as_str()); len / line.len()];
            switching_protocols(head, &padding)
        },
        Then::Echo,
    )
}

/// Sends interim responses (RFC 9110 §15.2) and then the 101.
pub(crate) fn informational() -> impl Fn(RawConn) -> Running {
    let interim = "HTTP/1.1 100 Continue\r\n\r\n\
                   HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    answer(
        move |head| {
            let accepted = switching_protocols(head, &[]);
            [interim.as_bytes(), &accepted].concat()
        },
        Then::Echo,
    )
}

/// Responds with a 101 whose `Sec-WebSocket-Accept` belongs to another key.
pub(crate) fn wrong_accept() -> impl Fn(RawConn) -> Running {
    let accept = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    answer(move |_| switching_protocols_with(accept, &[]), Then::Echo)
}

/// Accepts with a subprotocol that was not offered (RFC 6455 §4.1).
pub(crate) fn unoffered_subprotocol() -> impl Fn(RawConn) -> Running {
    accept(&[("Sec-WebSocket-Protocol", "unoffered")])
}

/// Accepts with an extension that was not offered (RFC 6455 §4.1).
pub(crate) fn unoffered_extension() -> impl Fn(RawConn) -> Running {
    accept(&[("Sec-WebSocket-Extensions", "x-unoffered")])
}

/// Responds with bytes that are not HTTP.
pub(crate) fn garbage(seed: u64) -> impl Fn(RawConn) -> Running {
    fixed(rng::payload(seed, 2048), Then::Hold)
}

/// Reads, and never writes.
pub(crate) fn silence() -> impl Fn(RawConn) -> Running {
    fixed("", Then::Hold)
}

async fn go_on(mut conn: RawConn, then: Then) -> io::Result<()> {
    if let Then::Close = then {
        conn.fin().await;
        return Ok(());
    }
    loop {
        let bytes = conn.try_read_some().await?;
        match then {
            _ if bytes.is_empty() => return Ok(()),
            Then::Echo => conn.try_send(&bytes).await?,
            Then::Hold | Then::Close => {}
        }
    }
}
