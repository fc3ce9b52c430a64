//! Encoding of a request's head (RFC 9112 §3, §5).

use http::{
    HeaderName, Method, Request,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

/// Size of a typical header line in bytes.
const TYPICAL_LINE: usize = 64;

/// Encodes the head of a request without a body.
///
/// The words of header names are capitalized, and the names of the handshake are written as in RFC
/// 6455 §11.3: names are case-insensitive (RFC 9110 §5.1), but some servers compare them exactly.
pub(super) fn encode_head<B>(request: &Request<B>) -> Vec<u8> {
    let headers = request.headers();
    let mut head = Vec::with_capacity((headers.len() + 2) * TYPICAL_LINE);
    head.extend_from_slice(request.method().as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(request.uri().to_string().as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    // Without a body no header must frame one (RFC 9112 §6).
    let framing = [&CONTENT_LENGTH, &TRANSFER_ENCODING];
    for (name, value) in headers.iter().filter(|(name, _)| !framing.contains(name)) {
        push_name(&mut head, name);
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    // RFC 9110 §8.6: an explicit zero, for methods that usually have a body.
    if matches!(
        *request.method(),
        Method::POST | Method::PUT | Method::PATCH
    ) {
        head.extend_from_slice(b"Content-Length: 0\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn push_name(head: &mut Vec<u8>, name: &HeaderName) {
    const PREFIX: &str = "sec-websocket-";
    let rest = match name.as_str().strip_prefix(PREFIX) {
        Some(rest) => {
            head.extend_from_slice(b"Sec-WebSocket-");
            rest
        }
        None => name.as_str(),
    };
    let mut begins_word = true;
    for byte in rest.bytes() {
        head.push(if begins_word {
            byte.to_ascii_uppercase()
        } else {
            byte
        });
        begins_word = byte == b'-';
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn encoded(request: &Request<()>) -> String {
        String::from_utf8(encode_head(request)).unwrap()
    }

    #[test]
    fn names_are_written_as_in_rfc_6455() {
        let request = Request::get("/ws?a=b")
            .header("host", "example.com")
            .header("sec-websocket-key", "abc")
            .header("sec-websocket-protocol", "chat")
            .header("x-forwarded-for", "192.0.2.1")
            .header("x-forwarded-for", "192.0.2.2")
            .body(())
            .unwrap();
        let expected = "GET /ws?a=b HTTP/1.1\r\n\
            Host: example.com\r\n\
            Sec-WebSocket-Key: abc\r\n\
            Sec-WebSocket-Protocol: chat\r\n\
            X-Forwarded-For: 192.0.2.1\r\n\
            X-Forwarded-For: 192.0.2.2\r\n\r\n";
        assert_eq!(encoded(&request), expected);
    }

    #[test]
    fn a_value_is_sent_unchanged() {
        let value = HeaderValue::from_bytes(b"a\xff b").unwrap();
        let request = Request::get("/").header("x", value).body(()).unwrap();
        assert!(
            encode_head(&request)
                .windows(4)
                .any(|part| part == b"a\xff b")
        );
    }

    #[test]
    fn a_missing_body_is_announced_for_methods_that_usually_have_one() {
        let post = Request::post("/")
            .header("content-length", "5")
            .header("transfer-encoding", "chunked")
            .body(())
            .unwrap();
        assert_eq!(
            encoded(&post),
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
        );
        let head = Request::head("/").body(()).unwrap();
        assert_eq!(encoded(&head), "HEAD / HTTP/1.1\r\n\r\n");
    }
}
