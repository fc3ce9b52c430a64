//! Header writes that cannot panic.
//!
//! `HeaderMap::insert` and `append` panic at 2^15 names, a number that a client may be able to
//! send. These functions leave a line out if it finds no room.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Number of lines up to which a map certainly has room for another one.
const CERTAIN_ROOM: usize = 1 << 13;

/// Replaces all lines of `name` by one, or removes them all if the map has no room.
pub(crate) fn replace(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    // `try_insert` wants room before it looks for the name: on a full map it fails and
    // leaves the old line, which may be a forged one.
    if headers.len() > CERTAIN_ROOM {
        headers.remove(name);
    }
    let _ = headers.try_insert(name.clone(), value);
}

/// Adds a line of `name` after the existing ones.
pub(crate) fn append(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    let _ = headers.try_append(name.clone(), value);
}

/// Appends `member` to a comma-separated list.
pub(super) fn push_member(list: &mut Vec<u8>, member: &[u8]) {
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(member);
}

#[cfg(test)]
mod tests {
    use http::header::HOST;

    use super::*;

    /// Returns a map with as many names as it can take.
    fn full() -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_static("v");
        for index in 0.. {
            let name = HeaderName::try_from(format!("n{index}")).unwrap();
            if headers.try_insert(name, value.clone()).is_err() {
                break;
            }
        }
        headers
    }

    #[test]
    fn a_full_map_neither_panics_nor_keeps_the_old_line() {
        let mut headers = full();
        let name = HeaderName::from_static("n7");
        replace(&mut headers, &name, HeaderValue::from_static("new"));
        assert_eq!(headers.get_all(&name).iter().collect::<Vec<_>>(), ["new"]);
        replace(&mut headers, &HOST, HeaderValue::from_static("new"));
        append(&mut headers, &HOST, HeaderValue::from_static("new"));
        assert_eq!(headers.get(&HOST), None);
    }

    #[test]
    fn all_lines_are_replaced() {
        let mut headers = HeaderMap::new();
        append(&mut headers, &HOST, HeaderValue::from_static("a"));
        append(&mut headers, &HOST, HeaderValue::from_static("b"));
        assert_eq!(headers.get_all(HOST).iter().count(), 2);
        replace(&mut headers, &HOST, HeaderValue::from_static("c"));
        assert_eq!(headers.get_all(HOST).iter().collect::<Vec<_>>(), ["c"]);
    }
}
