//! Detection of a 101 in an upstream's response (RFC 9112 §4).
//!
//! Only the head of a 1xx is parsed. The scan recognizes any other response by its first bytes.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, response::Parts};
use httparse::{EMPTY_HEADER, Status};

use crate::http::relay::HeadLimits;

/// Start of every HTTP/1 response.
const STATUS_LINE_START: &[u8] = b"HTTP/1.";

/// Offset of the status's first digit.
const STATUS_OFFSET: usize = 9;

/// Lines for which there is room without an allocation.
const USUAL_LINES: usize = 16;

/// Result of a scan of a response's first bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadScan {
    /// The bytes may begin a 1xx, whose end is missing.
    Partial,
    /// The bytes begin with a 1xx whose head has this length.
    Informational(usize),
    /// The bytes begin another response, or are not HTTP.
    Other,
}

/// Scans a response's first bytes, of which `scanned` were scanned before.
pub(super) fn scan_head(bytes: &[u8], scanned: usize, limits: HeadLimits) -> HeadScan {
    let may_be_http = bytes.starts_with(STATUS_LINE_START) || STATUS_LINE_START.starts_with(bytes);
    let is_other = !may_be_http || bytes.get(STATUS_OFFSET).is_some_and(|digit| *digit != b'1');
    if is_other {
        return HeadScan::Other;
    }
    match end_of_head(bytes, scanned) {
        Some(end) if end <= limits.bytes => HeadScan::Informational(end),
        None if bytes.len() <= limits.bytes => HeadScan::Partial,
        Some(_) | None => HeadScan::Other,
    }
}

/// Returns the end of the head's empty line; an LF alone ends a line too (RFC 9112 §2.2).
fn end_of_head(bytes: &[u8], scanned: usize) -> Option<usize> {
    // The empty line may begin in the part scanned before.
    let mut at = scanned.saturating_sub(2);
    loop {
        let rest = bytes.get(at..)?;
        let line = find_lf(rest)?;
        at += line + 1;
        match rest.get(line + 1..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
}

/// Returns the position of the first LF. Chunks without one are passed over as a whole, by few
/// instructions.
fn find_lf(bytes: &[u8]) -> Option<usize> {
    const CHUNK: usize = 16;
    let is_lf = |byte: &u8| *byte == b'\n';
    let has_lf = |chunk: &&[u8]| chunk.iter().fold(false, |found, byte| found | is_lf(byte));
    let passed = bytes.chunks_exact(CHUNK).take_while(|chunk| !has_lf(chunk));
    let passed = passed.count() * CHUNK;
    let rest = bytes.get(passed..)?;
    rest.iter().position(is_lf).map(|at| passed + at)
}

/// Parses the head of a 1xx; `None` if it is malformed, or has too many lines.
pub(super) fn parse_head(head: &Bytes, limits: HeadLimits) -> Option<Parts> {
    let mut usual = [EMPTY_HEADER; USUAL_LINES];
    match parse_lines(head, &mut usual[..limits.lines.min(USUAL_LINES)]) {
        Err(httparse::Error::TooManyHeaders) if limits.lines > USUAL_LINES => {
            let lines = head.iter().filter(|byte| **byte == b'\n').count();
            parse_lines(head, &mut vec![EMPTY_HEADER; lines.min(limits.lines)]).ok()?
        }
        parsed => parsed.ok()?,
    }
}

/// Parses the head, with room for so many lines; `None` if it is incomplete, or cannot be a map of headers.
fn parse_lines<'a>(
    head: &'a Bytes,
    lines: &mut [httparse::Header<'a>],
) -> Result<Option<Parts>, httparse::Error> {
    let mut response = httparse::Response::new(lines);
    Ok(match response.parse(head)? {
        Status::Complete(_) => parts(head, &response),
        Status::Partial => None,
    })
}

fn parts(head: &Bytes, response: &httparse::Response<'_, '_>) -> Option<Parts> {
    let mut headers = HeaderMap::try_with_capacity(response.headers.len()).ok()?;
    for line in response.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value)).ok()?;
        headers.try_append(name, value).ok()?;
    }
    let mut parts = Response::new(()).into_parts().0;
    parts.status = StatusCode::from_u16(response.code?).ok()?;
    parts.version = match response.version? {
        0 => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    parts.headers = headers;
    Some(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::relay::MAX_HEAD_LINES;

    const LIMITS: HeadLimits = HeadLimits {
        lines: 100,
        bytes: 8 * 1024,
    };
    const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

    #[test]
    fn more_lines_than_a_map_can_hold_are_an_error_and_no_panic() {
        for count in [24_000, 24_700, 40_000] {
            let lines: String = (0..count).map(|line| format!("n{line}: v\r\n")).collect();
            let head = Bytes::from(format!("HTTP/1.1 101 x\r\n{lines}\r\n"));
            let limits = HeadLimits {
                lines: count,
                bytes: head.len(),
            };
            let parsed = parse_head(&head, limits);
            assert_eq!(parsed.is_some(), count <= MAX_HEAD_LINES, "{count}");
        }
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        let suffix = [SWITCHING, b"\x81\x00"].concat();
        let whole = HeadScan::Informational(SWITCHING.len());
        assert_eq!(scan_head(&suffix, 0, LIMITS), whole);
        assert_eq!(
            scan_head(b"HTTP/1.1 103\n\n", 0, LIMITS),
            HeadScan::Informational(14)
        );
    }

    #[test]
    fn other_first_bytes_are_another_response() {
        for other in [
            &b"HTTP/1.1 2"[..],
            b"\r\nHTTP/1.1 101",
            b"SSH-2.0",
            b"HTTP/2",
        ] {
            assert_eq!(scan_head(other, 0, LIMITS), HeadScan::Other, "{other:?}");
        }
        for partial in [&b""[..], b"H", b"HTTP/1.1", b"HTTP/1.1 1", b"HTTP/1.1 200"] {
            let expected = match partial {
                b"HTTP/1.1 200" => HeadScan::Other,
                _ => HeadScan::Partial,
            };
            assert_eq!(scan_head(partial, 0, LIMITS), expected, "{partial:?}");
        }
    }

    #[test]
    fn a_head_has_its_limits() {
        let limits = HeadLimits {
            lines: 1,
            bytes: SWITCHING.len() - 1,
        };
        assert_eq!(scan_head(SWITCHING, 0, limits), HeadScan::Other);
        assert_eq!(
            scan_head(&SWITCHING[..SWITCHING.len() - 1], 0, limits),
            HeadScan::Partial
        );
        assert!(parse_head(&Bytes::from_static(SWITCHING), limits).is_some());
        let two = b"HTTP/1.1 101 \r\na: b\r\nc: d\r\n\r\n";
        assert!(parse_head(&Bytes::from_static(two), limits).is_none());
    }

    #[test]
    fn a_malformed_head_is_none() {
        for head in [
            &b"HTTP/1.1 101 OK\r\nno colon\r\n\r\n"[..],
            b"HTTP/1.1 101 OK\r\na : b\r\n\r\n",
            b"HTTP/1.1 101 OK\r\na: b\r\n folded\r\n\r\n",
            b"HTTP/1.1 1x1 OK\r\n\r\n",
            b"HTTP/1.1 101 OK\r\na: \x00\r\n\r\n",
        ] {
            assert!(
                parse_head(&Bytes::from_static(head), LIMITS).is_none(),
                "{head:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_head_may_arrive_in_any_pieces(
            lines in prop::collection::vec(("[a-z]{1,8}", "[ -~]{0,20}"), 0..8),
            suffix in prop::collection::vec(any::<u8>(), 0..32),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut head = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
            for (name, value) in &lines {
                head.extend(format!("{name}: {value}\r\n").bytes());
            }
            head.extend(b"\r\n");
            let end = head.len();
            let parts = parse_head(&head.clone().into(), LIMITS).unwrap();
            prop_assert_eq!(parts.status, 101);
            prop_assert_eq!(parts.headers.len(), lines.len());
            head.extend(suffix);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(head.len() + 1)).collect();
            cuts.push(head.len());
            cuts.sort_unstable();
            let mut scanned = 0;
            for cut in cuts {
                let expected = match cut {
                    cut if cut < end => HeadScan::Partial,
                    _ => HeadScan::Informational(end),
                };
                prop_assert_eq!(scan_head(&head[..cut], scanned, LIMITS), expected);
                if cut >= end {
                    break;
                }
                scanned = cut;
            }
        }

        #[test]
        fn no_bytes_make_the_scan_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [b"HTTP/1.1 1", &bytes[..]].concat();
            if let HeadScan::Informational(end) = scan_head(&bytes, 0, LIMITS) {
                prop_assert!(end <= bytes.len());
                let _ = parse_head(&Bytes::from(bytes).slice(..end), LIMITS);
            }
        }
    }
}
