//! Authorization: the host's function that decides on each request, before an upstream is picked.

use std::sync::Arc;

use http::{Response, StatusCode, Version, request::Parts};
use tokio::time::timeout;

use crate::{
    error::{Error, ErrorKind},
    http::relay::RelayedBody,
};

use super::{
    attempts::FallbackOutcome,
    authorization_request::{AuthorizationRequest, Authorize, Decision, RequestKind},
    client::Client,
    event_reporter::{EventReporter, Subject},
    rejection::Rejection,
};

/// Lets the host's function decide on a request, and returns its head with the options that the
/// function gave.
///
/// # Errors
///
/// Returns the host's rejection, or the reason why there is no decision.
///
/// # Cancellation
///
/// The function's future is dropped with this one, when the client leaves.
pub(super) async fn authorize(
    authorize: &Authorize,
    reporter: &EventReporter,
    head: Parts,
    client: &Client,
) -> Result<Parts, FallbackOutcome> {
    let head = Arc::new(head);
    let version = head.version;
    let kind = match reporter.subject() {
        Subject::Handshake | Subject::Reattachment => RequestKind::Handshake,
        Subject::Request => RequestKind::Forwarded,
    };
    let request = AuthorizationRequest::new(Arc::clone(&head), client.info, client.ip, kind);
    let within = reporter.settings().timeouts.authorization;
    let decision: Decision = timeout(within, authorize(request)).await.map_err(|_| {
        let after = format!("after {within:?}");
        Error::with_source(ErrorKind::AuthorizationTimeout, after)
    })?;
    match decision {
        Ok(options) => {
            // Copied only if the function has kept its request.
            let mut head = Arc::unwrap_or_clone(head);
            options.install(&mut head);
            Ok(head)
        }
        Err(rejection) => Err(rejected(reporter, rejection, version)),
    }
}

/// Reports a rejection, and returns its response. The error is in the response's extensions, as for
/// the proxy's own rejections.
///
/// A status by which the client would take its handshake for accepted becomes 403: no tunnel comes of
/// it.
fn rejected(reporter: &EventReporter, rejection: Rejection, version: Version) -> FallbackOutcome {
    let error = Error::new(ErrorKind::NotAuthorized);
    reporter.rejected(&error);
    let mut response: Response<RelayedBody> = rejection.into_response();
    response.extensions_mut().insert(error);
    let status = response.status();
    let is_handshake = reporter.subject() == Subject::Handshake;
    // RFC 8441 §5: over HTTP/2 a success accepts the handshake.
    if status.is_informational()
        || (is_handshake && version >= Version::HTTP_2 && status.is_success())
    {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    FallbackOutcome::Response(Box::new(response))
}
