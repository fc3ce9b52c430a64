//! The response to the client.

use http::{
    HeaderValue, Response, StatusCode, Version,
    header::{
        CONTENT_LENGTH, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_PROTOCOL, TRANSFER_ENCODING,
    },
    response::Parts,
};

use crate::{
    http::headers::{HeaderEdits, Via, add_header, set_header},
    http::relay::{client_response, prepare_response_head, set_upgrade_headers},
    http::upgrade::UpgradeRequest,
};

/// The headers that negotiate a handshake (RFC 6455 §4.2.2, items 5.4 to 5.6).
static NEGOTIATION_HEADERS: [HeaderName; 3] = [
    SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_EXTENSIONS,
];

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
    let lines = |name| {
        head.headers
            .get_all(name)
            .into_iter()
            // An empty line names nothing, and some clients fail on it.
            .filter(|line| !line.as_bytes().trim_ascii().is_empty())
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

/// Sets the accept key that the client expects (RFC 6455 §4.2.2, item 5.4).
fn set_accept_key(head: &mut Parts, upgrade: &UpgradeRequest) {
    if upgrade.is_extended_connect() {
        // RFC 8441 §5: HTTP/2 has no accept key; the upstream's was verified here.
        head.headers.remove(SEC_WEBSOCKET_ACCEPT);
    } else if head.version >= Version::HTTP_2 {
        // An upstream that got no key sends no accept key.
        if let Ok(proof) = HeaderValue::try_from(upgrade.accept_key()) {
            set_header(&mut head.headers, &SEC_WEBSOCKET_ACCEPT, proof);
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
