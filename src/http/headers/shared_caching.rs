//! Responses that no shared cache may store.

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue};

use super::checked_insert;
use super::quoted;

/// Makes a response private, because it carries a cookie of this proxy: a shared cache that stored
/// the response would give one client's cookie to the others (RFC 9111 §7.3).
///
/// Directives that would allow it are removed (RFC 9111 §5.2.2.9, §5.2.2.10); the others stay. A
/// `no-store` is enough by itself. A directive whose quoted-string is open is removed too: what follows
/// would be a part of it.
pub(crate) fn forbid_shared_caching(headers: &mut HeaderMap) {
    let are_closed = directives(headers).all(quoted::is_closed);
    if are_closed && closed_directives(headers).any(|it| is_one_of(it, &["no-store"])) {
        return;
    }
    let mut list = Vec::new();
    // `private` with a list of fields allows the storage of the rest.
    let dropped = ["public", "s-maxage", "private"];
    for directive in closed_directives(headers).filter(|it| !is_one_of(it, &dropped)) {
        checked_insert::push_member(&mut list, directive);
    }
    checked_insert::push_member(&mut list, b"private");
    if let Ok(value) = HeaderValue::try_from(list) {
        checked_insert::replace(headers, &CACHE_CONTROL, value);
    }
}

fn closed_directives(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    directives(headers).filter(|directive| quoted::is_closed(directive))
}

/// Returns the directives, whose values may have commas in quoted-strings (RFC 9111 §5.2).
fn directives(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    lines
        .flat_map(|line| quoted::split_at_commas(line.as_bytes()))
        .map(<[u8]>::trim_ascii)
        .filter(|directive| !directive.is_empty())
}

fn is_one_of(directive: &[u8], names: &[&str]) -> bool {
    let name = directive.split(|byte| *byte == b'=').next();
    let name = name.unwrap_or_default().trim_ascii();
    names
        .iter()
        .any(|wanted| name.eq_ignore_ascii_case(wanted.as_bytes()))
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
            (&["private=\"set-cookie, x-a\""], "private"),
            (
                &["no-cache=\"a, no-store\", s-maxage=9"],
                "no-cache=\"a, no-store\", private",
            ),
            (&["max-age=60, x=\"a", "y"], "max-age=60, y, private"),
            (&["no-store"], "no-store"),
            (&["x=\"a", "no-store"], "no-store, private"),
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
