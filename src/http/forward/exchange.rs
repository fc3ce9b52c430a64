//! Sending a request and waiting for the head of its response.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use http::{Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};

use crate::{
    error::{Error, ErrorKind},
    http::relay::{ProgressLimits, has_unsupported_coding},
};

use super::{
    connection::Http1Connection,
    request::UpstreamHead,
    settings::ForwardHttp,
    upload::{ClientBody, UploadBody, UploadProgress},
};

/// Failure to get a response.
#[derive(Debug)]
pub(crate) enum SendFailure {
    /// The connection was closed before, so nothing was sent. The body is unchanged.
    Unsent(ClientBody, Error),
    /// The upstream may have received the request.
    Sent(Error),
}

/// Sends a request, and waits for the head of the final response; 1xx before it are skipped.
///
/// # Errors
///
/// Returns [`ErrorKind::NoResponse`] if the connection ended before a byte of a response,
/// [`ErrorKind::Response`] if the response cannot be used, [`ErrorKind::ResponseTimeout`],
/// [`ErrorKind::ExchangeTimeout`] after `until`, or the client's failure to send its body.
///
/// # Cancellation
///
/// The exchange goes on until the connection is dropped.
pub(crate) async fn send(
    connection: &mut Http1Connection,
    head: UpstreamHead,
    body: ClientBody,
    upload: &Arc<UploadProgress>,
    settings: &ForwardHttp,
    until: Option<Instant>,
) -> Result<Response<Incoming>, SendFailure> {
    let limits = ProgressLimits {
        silence: settings.request_idle_timeout,
        minimum_rate: settings.minimum_rate,
    };
    let mut body = UploadBody::new(body, head.reserved, Arc::clone(upload), limits);
    let notify_continue = head
        .expects_continue
        .then(|| body.hold_for_continue(settings.continue_timeout));
    let mut request = head.request.map(|()| body);
    if let Some(notify_continue) = notify_continue {
        hyper::ext::on_informational(&mut request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                notify_continue.notify_one();
            }
        });
    }
    upload.start();
    let response = connection.send(request);
    let late = (settings.response_timeout, until);
    match within(response, upload, late).await {
        Some(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let why = "the response switches protocols, which the request did not ask for";
            Err(SendFailure::Sent(Error::with_source(
                ErrorKind::Response,
                why,
            )))
        }
        Some(Ok(response)) if has_unsupported_coding(response.headers()) => {
            let why = "the transfer coding of the response is not exactly chunked";
            Err(SendFailure::Sent(Error::with_source(
                ErrorKind::Response,
                why,
            )))
        }
        Some(Ok(response)) => {
            upload.set_response();
            Ok(response)
        }
        Some(Err(mut error)) => match error.take_message() {
            Some(request) => {
                let error = Error::with_source(ErrorKind::NoResponse, error.into_error());
                Err(SendFailure::Unsent(
                    request.into_body().into_client_body(),
                    error,
                ))
            }
            None => Err(SendFailure::Sent(upload.failure().unwrap_or_else(|| {
                Error::with_source(connection.failure_kind(), error.into_error())
            }))),
        },
        None => {
            let is_over = until.is_some_and(|until| until <= Instant::now());
            let after = settings.response_timeout;
            Err(SendFailure::Sent(match is_over {
                true => Error::new(ErrorKind::ExchangeTimeout),
                false => Error::with_source(ErrorKind::ResponseTimeout, format!("after {after:?}")),
            }))
        }
    }
}

/// Waits for the response; `None` if the upstream is late, or the time for the exchange is over.
async fn within<F: Future>(
    response: F,
    upload: &UploadProgress,
    (limit, until): (Duration, Option<Instant>),
) -> Option<F::Output> {
    let deadline = |now| {
        let deadline = upload.response_deadline(limit, now);
        until.map_or(deadline, |until| until.min(deadline))
    };
    let mut response = pin!(response);
    let mut timer = pin!(sleep_until(deadline(Instant::now())));
    poll_fn(|cx| {
        if let Poll::Ready(response) = response.as_mut().poll(cx) {
            return Poll::Ready(Some(response));
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            let due = deadline(now);
            if due <= now {
                return Poll::Ready(None);
            }
            timer.as_mut().reset(due);
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::{BodyExt, Full};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        sync::watch,
        task::yield_now,
    };

    use crate::{
        http::{headers::ReservedNames, relay::HeadLimits},
        net::transport::Transport,
    };

    use super::*;

    const TEXT: &str = "the body";

    async fn open() -> (Http1Connection, DuplexStream, watch::Sender<u64>) {
        let (near, far) = duplex(1024);
        let (cut, cuts) = watch::channel(0);
        let limits = HeadLimits::default();
        let connection = Http1Connection::open(Transport::new(near), limits, cuts).await;
        (connection.unwrap(), far, cut)
    }

    async fn ask(connection: &mut Http1Connection) -> Result<Response<Incoming>, SendFailure> {
        let head = UpstreamHead {
            request: Request::post("/x")
                .header("content-length", 8)
                .body(())
                .unwrap(),
            expects_continue: false,
            reserved: ReservedNames::from_iter([]),
        };
        let body = Full::new(Bytes::from(TEXT)).map_err(|never| match never {});
        let body = body.boxed_unsync();
        let upload = UploadProgress::new(&body);
        send(connection, head, body, &upload, &ForwardHttp::new(), None).await
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_gives_the_body_back() {
        let (mut connection, far, _cut) = open().await;
        drop(far);
        while !connection.is_closed() {
            yield_now().await;
        }
        let Err(SendFailure::Unsent(body, _)) = ask(&mut connection).await else {
            panic!("the connection is closed")
        };
        assert_eq!(body.collect().await.unwrap().to_bytes(), TEXT);
    }

    #[tokio::test]
    async fn a_connection_that_is_cut_was_sent_the_request() {
        let (mut connection, mut far, cut) = open().await;
        let upstream = async {
            assert!(far.read(&mut [0; 512]).await.unwrap() > 0);
            cut.send_replace(1);
        };
        let (result, ()) = tokio::join!(ask(&mut connection), upstream);
        assert!(
            matches!(result, Err(SendFailure::Sent(error)) if error.kind() == ErrorKind::NoResponse)
        );
    }

    #[tokio::test]
    async fn a_switch_of_protocols_is_an_error() {
        expect_error("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n").await;
    }

    /// RFC 9112 §7.4: only codings that `TE` allows, and no request here allows one.
    #[tokio::test]
    async fn an_unrequested_coding_is_an_error_rfc9112_7_4() {
        expect_error("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n").await;
    }

    #[tokio::test]
    async fn a_body_in_chunks_that_hyper_does_not_read_as_chunks_is_an_error() {
        for lines in [
            "Transfer-Encoding: chunked,",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding:",
        ] {
            expect_error(&format!(
                "HTTP/1.1 200 OK\r\n{lines}\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            ))
            .await;
        }
    }

    async fn expect_error(response: &str) {
        let (mut connection, mut far, _cut) = open().await;
        let upstream = async {
            assert!(far.read(&mut [0; 512]).await.unwrap() > 0);
            far.write_all(response.as_bytes()).await.unwrap();
        };
        let (result, ()) = tokio::join!(ask(&mut connection), upstream);
        assert!(
            matches!(result, Err(SendFailure::Sent(error)) if error.kind() == ErrorKind::Response)
        );
    }
}
