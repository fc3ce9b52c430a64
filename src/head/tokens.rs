//! Comma-separated header lists (RFC 9110 §5.6.1).

use http::{HeaderMap, HeaderName};

/// The members of the list `name` over all of its lines, without the white space around
/// them; empty members are passed over.
pub(crate) fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}
