//! Encoding of a request's head (RFC 9112 §3, §5).

use bytes::BytesMut;
use http::{
    HeaderName, HeaderValue, Method, Request, Uri,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

use crate::http::headers::HeaderSink;

/// Size of a typical header line in bytes.
const TYPICAL_LINE: usize = 64;

/// A request without a body, as it is sent.
pub(crate) struct EncodedRequest {
    pub(super) method: Method,
    pub(super) head: BytesMut,
}

/// Writer of a request's head.
///
/// The words of header names are capitalized, and the names of the handshake are written as in RFC
/// 6455 §11.3: names are case-insensitive (RFC 9110 §5.1), but some servers compare them exactly.
pub(super) struct HeadWriter {
    method: Method,
    head: BytesMut,
}

impl HeadWriter {
    /// Begins a head that will have about this number of lines.
    pub(super) fn new(method: Method, target: &Uri, lines: usize) -> Self {
        let mut head = BytesMut::with_capacity((lines + 2) * TYPICAL_LINE);
        head.extend_from_slice(method.as_str().as_bytes());
        head.extend_from_slice(b" ");
        match target.path_and_query() {
            Some(path) if target.authority().is_none() => {
                head.extend_from_slice(path.as_str().as_bytes());
            }
            _ => head.extend_from_slice(target.to_string().as_bytes()),
        }
        head.extend_from_slice(b" HTTP/1.1\r\n");
        Self { method, head }
    }

    /// Ends the head.
    pub(super) fn finish(mut self) -> EncodedRequest {
        // RFC 9110 §8.6: an explicit zero, for methods that usually have a body.
        if matches!(self.method, Method::POST | Method::PUT | Method::PATCH) {
            self.line(&CONTENT_LENGTH, b"0");
        }
        self.head.extend_from_slice(b"\r\n");
        EncodedRequest {
            method: self.method,
            head: self.head,
        }
    }

    fn line(&mut self, name: &HeaderName, value: &[u8]) {
        let name = name.as_str();
        self.head.reserve(name.len() + value.len() + 4);
        push_name(&mut self.head, name);
        self.head.extend_from_slice(b": ");
        self.head.extend_from_slice(value);
        self.head.extend_from_slice(b"\r\n");
    }
}

impl HeaderSink for HeadWriter {
    fn copy(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.line(name, value.as_bytes());
    }

    fn write(&mut self, name: &HeaderName, value: &[u8]) {
        if !value.is_empty() {
            self.line(name, value);
        }
    }
}

/// Encodes a request. Headers that would frame a body are left out (RFC 9112 §6).
impl<B> From<&Request<B>> for EncodedRequest {
    fn from(request: &Request<B>) -> Self {
        let headers = request.headers();
        let mut writer = HeadWriter::new(request.method().clone(), request.uri(), headers.len());
        let framing = [&CONTENT_LENGTH, &TRANSFER_ENCODING];
        for (name, value) in headers.iter().filter(|(name, _)| !framing.contains(name)) {
            writer.copy(name, value);
        }
        writer.finish()
    }
}

fn push_name(head: &mut BytesMut, name: &str) {
    const PREFIX: &str = "sec-websocket-";
    let rest = match name.strip_prefix(PREFIX) {
        Some(rest) => {
            head.extend_from_slice(b"Sec-WebSocket-");
            rest
        }
        None => name,
    };
    let begin = head.len();
    head.extend_from_slice(rest.as_bytes());
    let mut words = head.get_mut(begin..);
    while let Some([first, word @ ..]) = words {
        first.make_ascii_uppercase();
        let end = word.iter().position(|byte| *byte == b'-');
        words = end.and_then(|end| word.get_mut(end + 1..));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn encoded(request: &Request<()>) -> String {
        String::from_utf8(EncodedRequest::from(request).head.to_vec()).unwrap()
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
            EncodedRequest::from(&request)
                .head
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
