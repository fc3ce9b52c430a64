//! The answer that the client gets.

use http::{
    HeaderMap, HeaderValue, Response, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
    },
    response::Parts,
};

use crate::headers::{HeaderEdits, Via, strip_hop_by_hop};

/// What both sides agree by (RFC 6455 §4.2.2, items 5.4 to 5.6).
static AGREEMENT: [HeaderName; 3] = [
    SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_EXTENSIONS,
];

/// The client's 101, out of the upstream's.
///
/// The agreement has been verified, and goes down as it was: edits don't reach it.
pub(crate) fn accepted(mut head: Parts, via: Option<&Via>, edits: &HeaderEdits) -> Response<()> {
    let agreement: Vec<_> = AGREEMENT
        .iter()
        .flat_map(|name| {
            head.headers
                .get_all(name)
                .into_iter()
                .map(move |line| (name, line))
        })
        .map(|(name, line)| (name, line.clone()))
        .collect();
    pass_down(&mut head, via, edits);
    for name in AGREEMENT
        .iter()
        .chain([&CONTENT_LENGTH, &TRANSFER_ENCODING])
    {
        head.headers.remove(name);
    }
    for (name, line) in agreement {
        head.headers.append(name, line);
    }
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
