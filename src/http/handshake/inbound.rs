//! The answer that the client gets.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
    },
    response::Parts,
};
use http_body::Frame;

use crate::{
    http::headers::{
        HeaderEdits, Via, add_header, members, set_header, strip_hop_by_hop, strip_trailers,
    },
    http::upgrade::UpgradeRequest,
};

/// What both sides agree by (RFC 6455 §4.2.2, items 5.4 to 5.6).
static NEGOTIATION_HEADERS: [HeaderName; 3] = [
    SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_EXTENSIONS,
];

/// The client's 101, out of the upstream's yes; or its 200, if it asked by extended `CONNECT`.
///
/// The agreement has been verified, and goes down as it was: edits don't reach it.
pub(crate) fn accepted_response(
    mut head: Parts,
    upgrade: &UpgradeRequest,
    via: Option<&Via>,
    edits: &HeaderEdits,
) -> Response<()> {
    let lines = |name| {
        head.headers
            .get_all(name)
            .into_iter()
            .map(move |line| (name, line.clone()))
    };
    let agreement: Vec<_> = NEGOTIATION_HEADERS.iter().flat_map(lines).collect();
    prepare_response_head(&mut head, via, edits);
    for name in NEGOTIATION_HEADERS
        .iter()
        .chain([&CONTENT_LENGTH, &TRANSFER_ENCODING])
    {
        head.headers.remove(name);
    }
    for (name, line) in agreement {
        add_header(&mut head.headers, name, line);
    }
    set_accept_key(&mut head, upgrade);
    let mut response = Response::new(());
    if !upgrade.is_extended_connect() {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        set_upgrade_headers(&mut head.headers);
    }
    *response.headers_mut() = head.headers;
    response
}

/// Sees to it that the client gets the proof that it wants (RFC 6455 §4.2.2, item 5.4).
fn set_accept_key(head: &mut Parts, upgrade: &UpgradeRequest) {
    if upgrade.is_extended_connect() {
        // RFC 8441 §5: the proof is HTTP/1.1's, and was ours to check.
        head.headers.remove(SEC_WEBSOCKET_ACCEPT);
    } else if head.version >= Version::HTTP_2 {
        // An upstream without a key has nothing to set_accept_key.
        if let Ok(proof) = HeaderValue::try_from(upgrade.accept_key()) {
            set_header(&mut head.headers, &SEC_WEBSOCKET_ACCEPT, proof);
        }
    }
}

/// The client's answer when the upstream refused: the upstream's own, made fit to pass on.
///
/// To an extended `CONNECT` every 2xx says that the tunnel stands (RFC 9113 §8.5), so there an
/// upstream's ordinary success becomes a 502.
pub(crate) fn refused_response<B>(
    response: Response<B>,
    upgrade: &UpgradeRequest,
    via: Option<&Via>,
    edits: &HeaderEdits,
) -> Response<B> {
    let (mut head, body) = response.into_parts();
    let length = body_length(&head);
    prepare_response_head(&mut head, via, edits);
    set_body_length(&mut head.headers, length);
    if upgrade.is_extended_connect() && head.status.is_success() {
        head.status = StatusCode::BAD_GATEWAY;
    }
    // RFC 9110 §15.5.22: who answers 426 says what to upgrade to.
    if head.status == StatusCode::UPGRADE_REQUIRED {
        set_upgrade_headers(&mut head.headers);
    }
    // How the upstream framed its answer is between it and us.
    head.version = Version::HTTP_11;
    Response::from_parts(head, body)
}

/// How long the upstream says that its answer's body is: as one parse_digits, even where it is said
/// several times over, which the next to read it may not take for one (RFC 9110 §8.6).
///
/// Nothing where chunks say it, before which a length counts for nothing (RFC 9112 §6.3, item 3),
/// and where there is never a body.
pub(crate) fn body_length(head: &Parts) -> Option<u64> {
    if head.status == StatusCode::NO_CONTENT || head.headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let mut lengths = members(&head.headers, &CONTENT_LENGTH).map(parse_digits);
    let length = lengths.next()??;
    lengths.all(|other| other == Some(length)).then_some(length)
}

/// Whether there is a transfer coding that is not ours to take off: below the chunks it would lose its
/// name (RFC 9112 §6.1).
pub(crate) fn has_unsupported_coding(headers: &HeaderMap) -> bool {
    let mut codings = members(headers, &TRANSFER_ENCODING);
    let first = codings.next();
    codings.next().is_some() || first.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"chunked"))
}

/// Not `parse` alone, which takes a sign too.
fn parse_digits(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok()?;
    text.parse().ok().filter(|_| is_number)
}

/// Says how long the body is, which edits cannot change.
pub(crate) fn set_body_length(headers: &mut HeaderMap, length: Option<u64>) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    if let Some(length) = length {
        set_header(headers, &CONTENT_LENGTH, length.into());
    }
}

/// A part of an answer's body as it goes down: trailers say nothing that belongs ahead of it.
pub(crate) fn sanitize_trailers(part: Frame<Bytes>) -> Frame<Bytes> {
    match part.into_trailers() {
        Ok(mut trailers) => {
            strip_trailers(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(part) => part,
    }
}

/// Takes out what a response over HTTP/2 must not carry (RFC 9113 §8.2.2).
pub(crate) fn adapt_version<B>(response: &mut Response<B>, client: Version) {
    if client >= Version::HTTP_2 {
        response.headers_mut().remove(CONNECTION);
        response.headers_mut().remove(UPGRADE);
    }
}

/// What a WebSocket server says that speaks version 13 only (RFC 6455 §4.4).
pub(crate) fn set_supported_version(headers: &mut HeaderMap) {
    set_upgrade_headers(headers);
    set_header(
        headers,
        &SEC_WEBSOCKET_VERSION,
        HeaderValue::from_static("13"),
    );
}

/// The headers of an upstream's answer as they go down: those that speak of the upstream's
/// connection are gone, and what the user wants is done.
pub(crate) fn prepare_response_head(head: &mut Parts, via: Option<&Via>, edits: &HeaderEdits) {
    strip_hop_by_hop(&mut head.headers);
    if let Some(via) = via {
        via.apply(&mut head.headers, head.version);
    }
    edits.apply(&mut head.headers);
}

/// Says that here one may upgrade to WebSocket.
pub(crate) fn set_upgrade_headers(headers: &mut HeaderMap) {
    set_header(headers, &CONNECTION, HeaderValue::from_static("Upgrade"));
    set_header(headers, &UPGRADE, HeaderValue::from_static("websocket"));
}

#[cfg(test)]
mod tests {
    use http::Request;

    use crate::{
        http::head::RequestHead,
        http::upgrade::{Intent, inspect},
    };

    use super::*;

    fn length(status: u16, lines: &[(&str, &str)]) -> Option<u64> {
        let mut response = Response::builder().status(status);
        for (name, value) in lines {
            response = response.header(*name, *value);
        }
        body_length(&response.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_length_is_one_number_or_none_rfc9110_8_6() {
        let said = |value| length(200, &[("content-length", value)]);
        assert_eq!(said("5"), Some(5));
        assert_eq!(said("5, 5"), Some(5));
        for none in ["", ",", "5, 6", "+5", "5 5", "0x5", "99999999999999999999"] {
            assert_eq!(said(none), None, "{none}");
        }
        let twice = [("content-length", "5"), ("content-length", "5")];
        assert_eq!(length(200, &twice), Some(5));
        assert_eq!(length(204, &twice), None);
        let chunks = [("content-length", "5"), ("transfer-encoding", "chunked")];
        assert_eq!(length(200, &chunks), None);
    }

    #[test]
    fn edits_do_not_change_how_long_a_refusal_is() {
        let request = Request::get("/ws")
            .header("host", "a")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13")
            .body(())
            .unwrap();
        let Intent::Upgrade(upgrade) = inspect(&RequestHead::from(&request)) else {
            panic!("it is a handshake")
        };
        let refusal = Response::builder()
            .status(403)
            .header("content-length", "2")
            .body(())
            .unwrap();
        let edits = HeaderEdits::new().set("content-length", "99").unwrap();
        let response = refused_response(refusal, &upgrade, None, &edits);
        assert_eq!(response.headers()["content-length"], "2");
    }
}
