//! Request and answer on a stream of a shared connection.

use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use http::{Request, Response, response::Parts};
use http_body_util::Empty;

use crate::{
    error::{Error, ErrorKind},
    http::handshake::{
        head_limits::HeadLimits,
        response::{RefusalBody, UpgradeResponse},
    },
    net::connect::{Dialer, Opened, Stream, StreamSlot, Tried, io_error, is_unprocessed},
    net::transport::Transport,
};

use super::{
    body::Http2RefusalBody,
    request::{is_connect, translate},
};

/// On how many connections a request is tried, at most.
const MAX_ATTEMPTS: usize = 3;

/// How an exchange fails.
enum StreamFailure {
    /// The upstream has not looked at the request, any more than if it could not be connected.
    Unprocessed(Error),
    Final(Error),
}

/// Sends the request and waits for the answer's head.
///
/// A request that the upstream has certainly not looked at (its stream was refused, or is behind
/// the last of a GOAWAY, or the connection was gone before) is tried on another connection
/// (RFC 9113 §8.7).
///
/// # Errors
///
/// [`ErrorKind::Handshake`] when the stream or the connection breaks, [`ErrorKind::Connect`] when
/// no connection takes the request, and what connecting anew may give.
pub(crate) async fn exchange(
    mut slot: StreamSlot,
    dialer: &Dialer,
    request: &Request<Empty<Bytes>>,
    limits: HeadLimits,
    body_timeout: Duration,
) -> Result<UpgradeResponse, Error> {
    let request = translate(request, slot.scheme())?;
    let mut tried = Tried::on(&slot);
    loop {
        match try_once(slot, request.clone(), limits, body_timeout).await {
            Ok(answer) => return Ok(answer),
            Err(StreamFailure::Unprocessed(error)) if tried.count() < MAX_ATTEMPTS => {
                tracing::debug!(%error, "tried again on another connection");
                slot = dialer.reach_elsewhere(&tried).await?;
                tried.add(&slot);
            }
            Err(StreamFailure::Unprocessed(error) | StreamFailure::Final(error)) => {
                return Err(error);
            }
        }
    }
}

async fn try_once(
    slot: StreamSlot,
    request: Request<()>,
    limits: HeadLimits,
    body_timeout: Duration,
) -> Result<UpgradeResponse, StreamFailure> {
    let is_connect = is_connect(&request);
    let opened = slot.open(request).map_err(|error| {
        // Nothing was sent. If the connection is not at fault, the request is.
        let is_gone = error.is_io() || error.is_go_away();
        failure(error, is_gone)
    })?;
    let Opened {
        response,
        mut sending,
        occupied,
    } = opened;
    if !is_connect {
        end_stream(&mut sending);
    }
    let response = response.await.map_err(|error| {
        let is_unprocessed = is_unprocessed(&error);
        failure(error, is_unprocessed)
    })?;
    let (head, receiving) = response.into_parts();
    limits.check(&head).map_err(StreamFailure::Final)?;
    // RFC 9113 §8.5: any 2xx says that the tunnel stands.
    if is_connect && head.status.is_success() {
        return Ok(UpgradeResponse::Accepted {
            head,
            transport: Transport::new(Stream::new(receiving, sending, occupied)),
            read_ahead: Bytes::new(),
        });
    }
    if is_connect {
        end_stream(&mut sending);
    }
    let body = Http2RefusalBody::new(receiving, body_timeout, occupied);
    Ok(UpgradeResponse::Refused(Response::from_parts(
        head,
        RefusalBody::Shared(body),
    )))
}

/// There is nothing more to send. A stream that was reset already will tell so by its answer.
fn end_stream(sending: &mut SendStream<Bytes>) {
    let _ = sending.send_data(Bytes::new(), true);
}

fn failure(error: h2::Error, is_unprocessed: bool) -> StreamFailure {
    let error = io_error(error);
    if is_unprocessed {
        StreamFailure::Unprocessed(Error::with_source(ErrorKind::Connect, error))
    } else {
        StreamFailure::Final(Error::with_source(ErrorKind::Handshake, error))
    }
}

impl HeadLimits {
    /// # Errors
    ///
    /// The head is too large, counted as RFC 9113 §6.5.2 counts.
    fn check(&self, head: &Parts) -> Result<(), Error> {
        let bytes: usize = head
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum();
        if head.headers.len() > self.lines || bytes > self.bytes {
            let error = "the head of its answer is too large";
            return Err(Error::with_source(ErrorKind::Handshake, error));
        }
        Ok(())
    }
}
