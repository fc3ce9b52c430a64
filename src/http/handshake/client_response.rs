//! The response to the client.

use http::{
    HeaderMap, HeaderValue, Response, StatusCode, Version,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, UPGRADE},
    response::Parts,
};

use crate::{
    http::headers::{
        HeaderEdits, HeaderSink, NameSet, Via, add_header, is_hop_by_hop, set_header,
        strip_nominated,
    },
    http::relay::{client_response, set_upgrade_headers},
    http::upgrade::UpgradeRequest,
};

/// The headers that negotiate a handshake (RFC 6455 §4.2.2, items 5.4 to 5.6).
static NEGOTIATION_HEADERS: NameSet = NameSet::new(&[
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
]);

/// Headers of a 101 that edits do not affect: those of the negotiation and of the switch of protocols, and
/// those that frame a body, which a 101 does not have.
static OWN_HEADERS: NameSet = NameSet::new(&[
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
]);

/// Lines that are commonly added to those of the upstream's response.
const ADDED_LINES: usize = 4;

/// Builds the client's 101 from the upstream's acceptance; or its 200, if the client used an
/// extended `CONNECT`.
///
/// The negotiation is verified already and is passed on unchanged: edits do not affect it.
pub(crate) fn accepted_response(
    mut head: Parts,
    upgrade: &UpgradeRequest,
    via: Option<&Via>,
    edits: &HeaderEdits,
) -> Response<()> {
    strip_nominated(&mut head.headers);
    let lines = head.headers.len() + ADDED_LINES;
    let mut headers = HeaderMap::try_with_capacity(lines).unwrap_or_default();
    for (name, value) in &head.headers {
        if !is_hop_by_hop(name) && !OWN_HEADERS.contains(name) {
            headers.copy(name, value);
        }
    }
    if let Some(via) = via {
        via.write(head.version, &mut headers);
    }
    if !edits.is_empty() {
        edits.apply(&mut headers);
        OWN_HEADERS.remove_from(&mut headers);
    }
    for (name, line) in &head.headers {
        // An empty line names nothing, and some clients fail on it.
        if NEGOTIATION_HEADERS.contains(name) && !line.as_bytes().trim_ascii().is_empty() {
            headers.copy(name, line);
        }
    }
    set_accept_key(&mut headers, head.version, upgrade);
    let mut response = Response::new(());
    if !upgrade.is_extended_connect() {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        add_header(
            &mut headers,
            &CONNECTION,
            HeaderValue::from_static("Upgrade"),
        );
        add_header(
            &mut headers,
            &UPGRADE,
            HeaderValue::from_static("websocket"),
        );
    }
    *response.headers_mut() = headers;
    response
}

/// Sets the accept key that the client expects (RFC 6455 §4.2.2, item 5.4).
fn set_accept_key(headers: &mut HeaderMap, upstream: Version, upgrade: &UpgradeRequest) {
    if upgrade.is_extended_connect() {
        // RFC 8441 §5: HTTP/2 has no accept key; the upstream's was verified here.
        headers.remove(SEC_WEBSOCKET_ACCEPT);
    } else if upstream >= Version::HTTP_2 {
        // An upstream that got no key sends no accept key.
        if let Ok(proof) = HeaderValue::try_from(upgrade.accept_key()) {
            set_header(headers, &SEC_WEBSOCKET_ACCEPT, proof);
        }
    }
}

/// Builds the client's response from the upstream's refusal.
///
/// To an extended `CONNECT` every 2xx establishes the tunnel (RFC 9113 §8.5), so there an
/// upstream's ordinary success becomes a 502.
pub(crate) fn refused_response<B>(
    response: Response<B>,
    upgrade: &UpgradeRequest,
    via: Option<&Via>,
    edits: &HeaderEdits,
) -> Response<B> {
    let mut response = client_response(response, via, edits);
    if upgrade.is_extended_connect() && response.status().is_success() {
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
    // RFC 9110 §15.5.22: a 426 names the protocol to upgrade to.
    if response.status() == StatusCode::UPGRADE_REQUIRED {
        set_upgrade_headers(response.headers_mut());
    }
    response
}

#[cfg(test)]
mod tests {
    use http::Request;

    use crate::{
        http::head::RequestHead,
        http::upgrade::{Intent, inspect},
    };

    use super::*;

    #[test]
    fn edits_do_not_change_the_length_of_a_refusal() {
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
