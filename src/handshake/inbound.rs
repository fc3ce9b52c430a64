//! The answer that the client gets.

use http::{
    HeaderMap, HeaderValue, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_VERSION, UPGRADE},
    response::Parts,
};

use crate::headers::{HeaderEdits, Via, strip_hop_by_hop};

/// The client's 101, out of the upstream's.
pub(crate) fn accepted(mut head: Parts, via: Option<&Via>, edits: &HeaderEdits) -> Response<()> {
    pass_down(&mut head, via, edits);
    head.headers.remove(CONTENT_LENGTH);
    name_upgrade(&mut head.headers);
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = head.headers;
    response
}

/// The client's answer when the upstream refused: the upstream's own, made fit to pass on.
pub(crate) fn refused<B>(
    response: Response<B>,
    via: Option<&Via>,
    edits: &HeaderEdits,
) -> Response<B> {
    let (mut head, body) = response.into_parts();
    pass_down(&mut head, via, edits);
    // RFC 9110 §15.5.22: who answers 426 says what to upgrade to.
    if head.status == StatusCode::UPGRADE_REQUIRED {
        name_upgrade(&mut head.headers);
    }
    // How the upstream framed its answer is between it and us.
    head.version = Version::HTTP_11;
    Response::from_parts(head, body)
}

/// What a WebSocket server says that speaks version 13 only (RFC 6455 §4.4).
pub(crate) fn name_version(headers: &mut HeaderMap) {
    name_upgrade(headers);
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
}

fn pass_down(head: &mut Parts, via: Option<&Via>, edits: &HeaderEdits) {
    strip_hop_by_hop(&mut head.headers);
    if let Some(via) = via {
        via.apply(&mut head.headers, head.version);
    }
    edits.apply(&mut head.headers);
}

fn name_upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}
