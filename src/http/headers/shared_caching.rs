//! Responses that no shared cache may store.

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue};

use super::checked_insert;
use super::tokens::members;

/// Makes a response private, because it carries a cookie of this proxy: a shared cache that stored
/// the response would give one client's cookie to the others (RFC 9111 §7.3).
///
/// Directives that would allow it are removed (RFC 9111 §5.2.2.9, §5.2.2.10); the others stay. A
/// `no-store` is enough by itself.
pub(crate) fn forbid_shared_caching(headers: &mut HeaderMap) {
    let is = |directive: &[u8], names: &[&str]| {
        let name = directive.split(|byte| *byte == b'=').next();
        let name = name.unwrap_or_default().trim_ascii();
        names
            .iter()
            .any(|wanted| name.eq_ignore_ascii_case(wanted.as_bytes()))
    };
    if members(headers, &CACHE_CONTROL).any(|directive| is(directive, &["no-store"])) {
        return;
    }
    let mut list = Vec::new();
    // `private` with a list of fields allows the storage of the rest.
    let dropped = ["public", "s-maxage", "private"];
    for directive in members(headers, &CACHE_CONTROL).filter(|it| !is(it, &dropped)) {
        checked_insert::push_member(&mut list, directive);
    }
    checked_insert::push_member(&mut list, b"private");
    if let Ok(value) = HeaderValue::try_from(list) {
        checked_insert::replace(headers, &CACHE_CONTROL, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_with_a_cookie_of_ours_is_private_rfc9111_7_3() {
        for (lines, expected) in [
            (&[][..], "private"),
            (&["max-age=60"], "max-age=60, private"),
            (
                &["public, max-age=60", "s-maxage=90"],
                "max-age=60, private",
            ),
            (&["Private"], "private"),
            (&["private=\"set-cookie\""], "private"),
            (&["no-store"], "no-store"),
            (&["no-cache"], "no-cache, private"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CACHE_CONTROL, HeaderValue::from_static(line));
            }
            forbid_shared_caching(&mut headers);
            let written: Vec<_> = headers.get_all(CACHE_CONTROL).iter().collect();
            assert_eq!(written, [expected], "{lines:?}");
        }
    }
}
