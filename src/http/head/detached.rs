//! Copies of a request's head that are kept longer than the request.
//!
//! The parts of a head that a server has read refer to its read buffer, of 8 KiB and more, which
//! stays in memory as long as one of them does.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Uri, request::Parts};

use super::mounting::map_original_uri;

/// Copies a head with its extensions.
pub(crate) fn detached_head(head: &Parts) -> Parts {
    let (mut copy, ()) = Request::new(()).into_parts();
    copy.method = head.method.clone();
    copy.uri = detached_uri(&head.uri);
    copy.version = head.version;
    copy.headers = detached_headers(&head.headers);
    copy.extensions = head.extensions.clone();
    map_original_uri(&mut copy.extensions, detached_uri);
    copy
}

/// Copies a target.
pub(crate) fn detached_uri(uri: &Uri) -> Uri {
    // The text of a valid target is valid: the clone, which would keep the whole head, is never made.
    Uri::from_maybe_shared(Bytes::from(uri.to_string())).unwrap_or_else(|_| uri.clone())
}

/// Copies a value.
pub(crate) fn detached_value(value: &HeaderValue) -> HeaderValue {
    let mut copy = value.clone();
    detach(&mut copy, Bytes::copy_from_slice(value.as_bytes()));
    copy
}

/// Copies header lines, whose values share one allocation.
fn detached_headers(headers: &HeaderMap) -> HeaderMap {
    let mut copies = headers.clone();
    let bytes: Vec<u8> = headers
        .values()
        .flat_map(HeaderValue::as_bytes)
        .copied()
        .collect();
    let mut rest = Bytes::from(bytes);
    for value in copies.values_mut() {
        let bytes = rest.split_to(value.len().min(rest.len()));
        detach(value, bytes);
    }
    copies
}

/// Lets a value refer to a copy of its bytes.
fn detach(value: &mut HeaderValue, copy: Bytes) {
    if let Ok(mut copy) = HeaderValue::from_maybe_shared(copy) {
        copy.set_sensitive(value.is_sensitive());
        *value = copy;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_equal_and_shares_no_bytes() {
        let buffer = Bytes::from_static(b"/ws/room?a=b one two caf\xE9");
        let value = |range| HeaderValue::from_maybe_shared(buffer.slice(range)).unwrap();
        let mut secret = value(17..20);
        secret.set_sensitive(true);
        let uri = Uri::from_maybe_shared(buffer.slice(..12)).unwrap();
        let request = Request::get(uri)
            .header("x-one", value(13..16))
            .header("x-two", secret)
            .header("x-one", value(21..25))
            .extension(7_u8);
        let (head, ()) = request.body(()).unwrap().into_parts();
        let copy = detached_head(&head);
        assert_eq!((&copy.uri, &copy.headers), (&head.uri, &head.headers));
        assert!(copy.headers["x-two"].is_sensitive());
        assert_eq!(copy.extensions.get(), Some(&7_u8));
        let within = |bytes: &[u8]| buffer.as_ptr_range().contains(&bytes.as_ptr());
        assert!(within(head.headers["x-two"].as_bytes()));
        assert!(copy.headers.values().all(|value| !within(value.as_bytes())));
        assert!(!within(copy.uri.path().as_bytes()));
    }

    #[test]
    fn targets_of_every_form_are_copied() {
        for target in ["/", "/a?b", "*", "ws://a:80/b?c", "http://[::1]/", "a:443"] {
            let uri: Uri = target.parse().unwrap();
            assert_eq!(detached_uri(&uri), uri, "{target}");
        }
    }
}
