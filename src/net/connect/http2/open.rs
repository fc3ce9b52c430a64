//! Opening of a shared connection.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::uri::Scheme;
use tokio::time::{Instant, timeout};

use crate::{
    error::{BoxError, Error, ErrorKind},
    net::connect::{
        address::Address,
        alpn::{Agreed, Alpn},
        dialer::Dialer,
    },
    net::transport::Transport,
    task,
};

use super::{connection::Connection, driver::Driver, settings::Http2Connections};

/// The largest head that is read, in bytes as RFC 9113 §6.5.2 counts them. The exchange sets the
/// limit of a response.
const MAX_HEAD: u32 = 1024 * 1024;

/// The most bytes of each stream that wait in memory for the connection.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that were reset and are remembered, and for how long. Further frames of the upstream for such a
/// stream were on their way and are ignored. For any other stream that is over they count as errors of the
/// upstream, and after 1,024 of these in the life of a connection h2 ends it, with all of its tunnels.
const REMEMBERED_RESETS: usize = 1024;
const RESET_IS_REMEMBERED: Duration = Duration::from_secs(10);

type Driven = client::Connection<Transport, Bytes>;

/// The protocol that an upstream turned out to speak.
pub(super) enum Negotiated {
    Http2(Arc<Connection>),
    /// HTTP/1.1, on this connection if one is left.
    Http1(Option<Transport>),
}

/// Opens a connection, and waits for the upstream's SETTINGS.
///
/// # Errors
///
/// As [`Dialer::dial`], and [`ErrorKind::Http2Unsupported`] where HTTP/1.1 is not offered.
pub(super) async fn open(
    dial: &Dialer,
    address: &Address,
    alpn: Alpn,
    settings: &Http2Connections,
) -> Result<Negotiated, Error> {
    let (transport, agreed) = dial.dial_offering(address, None, alpn).await?;
    let is_tls = matches!(address, Address::Tls { .. });
    if is_tls && agreed == Agreed::Http1 {
        return match alpn {
            Alpn::Either => Ok(Negotiated::Http1(Some(transport))),
            Alpn::Http1 | Alpn::Http2 => Err(unsupported("it does not agree to h2 by ALPN")),
        };
    }
    let (sender, connection) =
        match timeout(dial.connect_timeout, handshake(transport, settings)).await {
            Ok(result) => result.map_err(unsupported)?,
            Err(_) => {
                let budget = dial.connect_timeout;
                return Err(Error::with_source(
                    ErrorKind::ConnectTimeout,
                    format!("no HTTP/2 SETTINGS after {budget:?}"),
                ));
            }
        };
    // RFC 8441 §3.
    if !sender.is_extended_connect_protocol_enabled() {
        return match alpn {
            Alpn::Either => Ok(Negotiated::Http1(None)),
            Alpn::Http1 | Alpn::Http2 => {
                Err(unsupported("its SETTINGS do not allow extended CONNECT"))
            }
        };
    }
    let scheme = if is_tls { Scheme::HTTPS } else { Scheme::HTTP };
    let now = Instant::now();
    let openers = Arc::new(Connection::new(sender, settings.streams(), scheme, now));
    task::spawn(Driver::new(connection, &openers, settings, address, now));
    Ok(Negotiated::Http2(openers))
}

/// Sends the preface, and drives the connection until the upstream's SETTINGS are there, which must
/// be its first frame (RFC 9113 §3.4).
async fn handshake(
    transport: Transport,
    settings: &Http2Connections,
) -> Result<(SendRequest<Bytes>, Driven), BoxError> {
    let (sender, mut connection): (_, Driven) = client::Builder::new()
        .enable_push(false)
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window())
        .data_frame_budget(settings.small_frame_budget())
        .max_header_list_size(MAX_HEAD)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .reset_stream_duration(RESET_IS_REMEMBERED)
        // No stream opens before the SETTINGS: a ready sender shows that they have come.
        .initial_max_send_streams(0)
        .handshake(transport)
        .await?;
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(BoxError::from("it closed the connection"))),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
        Poll::Pending if sender.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    Ok((sender, connection))
}

pub(super) fn unsupported(why: impl Into<BoxError>) -> Error {
    Error::with_source(ErrorKind::Http2Unsupported, why)
}
