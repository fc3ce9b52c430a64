//! How header names are spelled on the wire.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::LazyLock,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Extensions, Request};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncWriteExt, task::unconstrained};

use crate::error::BoxError;

/// The names as RFC 6455 §11.3 writes them.
const NAMES: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Sec-WebSocket-Key: \r\n\
    Sec-WebSocket-Version: \r\n\
    Sec-WebSocket-Protocol: \r\n\
    Sec-WebSocket-Extensions: \r\n\
    Content-Length: 0\r\n\r\n";

/// Has hyper write the names of the handshake's headers as RFC 6455 writes them: names are
/// compared in any case, but some servers do not know (RFC 9110 §5.1).
///
/// The names of all other headers are the connection's to spell.
pub(super) fn spell_as_written<B>(request: &mut Request<B>) {
    static SPELLING: LazyLock<Extensions> = LazyLock::new(spelling);
    request.extensions_mut().extend(SPELLING.clone());
}

/// What hyper takes the spelling of names from: an extension that nobody can make, but that a
/// client connection leaves on an answer for whoever forwards it. So one is given an answer that
/// has the names.
///
/// Should that change, nothing is found, and the names are spelled as all others are.
fn spelling() -> Extensions {
    let answer = pin!(unconstrained(read(NAMES)));
    match answer.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(extensions)) => extensions,
        Poll::Ready(Err(_)) | Poll::Pending => Extensions::new(),
    }
}

/// Asks and answers in memory; never waits.
async fn read(names: &[u8]) -> Result<Extensions, BoxError> {
    let (near, mut far) = tokio::io::duplex(1024);
    let (mut sender, mut connection) = http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(near))
        .await?;
    let mut answer = pin!(sender.send_request(Request::new(Empty::<Bytes>::new())));
    // hyper takes no answer before it has asked.
    poll_fn(|cx| {
        let _ = connection.poll_without_shutdown(cx);
        Poll::Ready(())
    })
    .await;
    far.write_all(names).await?;
    let response = poll_fn(|cx| {
        let _ = connection.poll_without_shutdown(cx);
        answer.as_mut().poll(cx)
    })
    .await?;
    Ok(response.into_parts().0.extensions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyper_has_an_extension_for_the_spelling() {
        assert_eq!(spelling().len(), 1);
    }
}
