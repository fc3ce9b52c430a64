//! The response to the client.

use std::time::Duration;

use http::{
    HeaderMap, Response, StatusCode, Version,
    header::{HeaderName, TRAILER, TRANSFER_ENCODING, UPGRADE},
};

use crate::{
    http::handshake::{body_length, prepare_response_head, set_body_length, set_upgrade_headers},
    http::headers::{HeaderEdits, Via, add_header, contains_token, members},
};

use super::request::trailer_lines;

/// Builds the client's response from the upstream's.
///
/// The length of the body stays as the upstream announced it; edits do not affect it.
pub(crate) fn client_response<B>(
    response: Response<B>,
    via: Option<&Via>,
    edits: &HeaderEdits,
) -> Response<B> {
    let (mut head, body) = response.into_parts();
    let in_chunks = head.headers.contains_key(TRANSFER_ENCODING);
    let length = body_length(&head);
    let trailers = match in_chunks {
        true => trailer_lines(&head.headers),
        false => Vec::new(),
    };
    let asks_for_websocket = head.status == StatusCode::UPGRADE_REQUIRED
        && contains_token(&head.headers, &UPGRADE, "websocket");

    prepare_response_head(&mut head, via, edits);
    set_body_length(&mut head.headers, length);
    head.headers.remove(TRAILER);
    for line in trailers {
        add_header(&mut head.headers, &TRAILER, line);
    }
    // RFC 9110 §15.5.22: a 426 names the protocol to upgrade to.
    if asks_for_websocket {
        set_upgrade_headers(&mut head.headers);
    }
    // The upstream's framing concerns only its connection to this proxy.
    head.version = Version::HTTP_11;
    Response::from_parts(head, body)
}

/// Returns whether the response switches protocols, which no forwarded request asks for.
pub(crate) fn is_protocol_switch(status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS
}

/// Returns the time for which the upstream keeps an idle connection, from `Keep-Alive: timeout=` in
/// seconds.
pub(super) fn keep_alive_timeout(headers: &HeaderMap) -> Option<Duration> {
    let name = HeaderName::from_static("keep-alive");
    let seconds = members(headers, &name)
        .filter_map(|member| std::str::from_utf8(member).ok())
        .filter_map(|member| member.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?
        .1;
    let seconds = seconds.trim().trim_matches('"').parse::<u32>().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, lines: &[(&str, &str)]) -> Response<()> {
        let mut response = Response::builder().status(status);
        for (name, value) in lines {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap()
    }

    fn client_headers(status: u16, lines: &[(&str, &str)]) -> HeaderMap {
        let edits = HeaderEdits::new();
        let response = client_response(response(status, lines), None, &edits);
        response.headers().clone()
    }

    #[test]
    fn hop_by_hop_headers_are_removed_and_trailers_announced_rfc9110_7_6_1() {
        let headers = client_headers(
            200,
            &[
                ("connection", "close, x-hop"),
                ("x-hop", "1"),
                ("keep-alive", "timeout=5"),
                ("transfer-encoding", "chunked"),
                ("content-length", "3"),
                ("trailer", "x-sum"),
                ("upgrade", "h2c"),
                ("x-app", "1"),
            ],
        );
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-app", "trailer"]);
    }

    #[test]
    fn a_426_keeps_its_upgrade_header_rfc9110_15_5_22() {
        let headers = client_headers(426, &[("upgrade", "websocket"), ("content-length", "0")]);
        assert_eq!(headers["upgrade"], "websocket");
        assert_eq!(headers["content-length"], "0");
        assert!(!client_headers(426, &[("upgrade", "TLS/1.0")]).contains_key("upgrade"));
    }

    #[test]
    fn a_length_is_relayed_as_one_number_rfc9110_8_6() {
        let headers = client_headers(200, &[("content-length", "3, 3"), ("content-length", "3")]);
        let lengths: Vec<_> = headers.get_all("content-length").iter().collect();
        assert_eq!(lengths, ["3"]);
        assert!(!client_headers(204, &[("content-length", "3")]).contains_key("content-length"));
    }

    #[test]
    fn the_keep_alive_header_has_a_timeout() {
        let kept = |value| keep_alive_timeout(response(200, &[("keep-alive", value)]).headers());
        assert_eq!(kept("timeout=5, max=100"), Some(Duration::from_secs(5)));
        assert_eq!(kept("max=3, Timeout = \"7\""), Some(Duration::from_secs(7)));
        for none in ["", "5", "timeout=", "timeout=-1", "timeout=99999999999"] {
            assert_eq!(kept(none), None, "{none}");
        }
    }
}
