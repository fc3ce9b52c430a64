//! Request and response on a stream of a shared connection.

use bytes::Bytes;
use h2::SendStream;
use http::{Request, Response, response::Parts};
use http_body_util::Empty;

use crate::{
    error::{Error, ErrorKind},
    escaped::Escaped,
    http::handshake::upstream_response::UpgradeResponse,
    http::relay::HeadLimits,
    net::connect::{Dialer, Opened, Stream, StreamSlot, Tried, io_error, is_unprocessed},
    net::transport::Transport,
};

use super::{
    body::Http2RefusalBody,
    request::{is_connect, translate},
};

/// Maximum number of connections on which a request is tried.
const MAX_ATTEMPTS: usize = 3;

/// Failure of an exchange on one stream.
enum StreamFailure {
    /// The upstream has not processed the request, as if connecting had failed.
    Unprocessed(Error),
    Final(Error),
}

/// Sends the request and waits for the response's head.
///
/// A request that the upstream has certainly not processed (its stream was refused, or exceeds the
/// last stream of a GOAWAY, or the connection was closed before) is tried on another connection
/// (RFC 9113 §8.7).
///
/// # Errors
///
/// Returns [`ErrorKind::NoResponse`] if the stream or the connection breaks before a response,
/// [`ErrorKind::Handshake`] if the response cannot be used, [`ErrorKind::Connect`] if no connection
/// takes the request, and the error of a new connection.
pub(crate) async fn exchange(
    mut slot: StreamSlot,
    dialer: &Dialer,
    request: &Request<Empty<Bytes>>,
    limits: HeadLimits,
) -> Result<UpgradeResponse, Error> {
    let request = translate(request, slot.scheme())?;
    let mut tried = Tried::on(&slot);
    loop {
        match try_once(slot, request.clone(), limits).await {
            Ok(response) => return Ok(response),
            Err(StreamFailure::Unprocessed(error)) if tried.count() < MAX_ATTEMPTS => {
                tracing::debug!(
                    error = %Escaped(format_args!("{error:#}")),
                    "trying another connection"
                );
                slot = dialer.acquire_elsewhere(&tried).await?;
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
        guard,
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
    // RFC 9113 §8.5: any 2xx establishes the tunnel.
    if is_connect && head.status.is_success() {
        return Ok(UpgradeResponse::Accepted {
            head,
            transport: Transport::new(Stream::new(receiving, sending, guard)),
            read_ahead: Bytes::new(),
        });
    }
    if is_connect {
        end_stream(&mut sending);
    }
    let body = Http2RefusalBody::new(receiving, guard);
    Ok(UpgradeResponse::Refused(Response::from_parts(
        head,
        Box::pin(body),
    )))
}

/// Ends the sending direction. If the stream was reset already, its response reports that.
fn end_stream(sending: &mut SendStream<Bytes>) {
    let _ = sending.send_data(Bytes::new(), true);
}

fn failure(error: h2::Error, is_unprocessed: bool) -> StreamFailure {
    let error = io_error(error);
    if is_unprocessed {
        StreamFailure::Unprocessed(Error::with_source(ErrorKind::Connect, error))
    } else {
        StreamFailure::Final(Error::with_source(ErrorKind::NoResponse, error))
    }
}

impl HeadLimits {
    /// Checks the size of a head, counted as in RFC 9113 §6.5.2.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::Handshake`] if the head is too large.
    fn check(&self, head: &Parts) -> Result<(), Error> {
        let bytes: usize = head
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum();
        if head.headers.len() > self.lines || bytes > self.bytes {
            let error = "the head of the response is too large";
            return Err(Error::with_source(ErrorKind::Handshake, error));
        }
        Ok(())
    }
}
