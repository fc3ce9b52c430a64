//! Authentication of a connection instead of a request.

use http::{
    HeaderMap,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};

use super::tokens::members;

/// Returns whether these headers of a request or response belong to an authentication of the whole
/// connection: NTLM, or Negotiate (RFC 4559), which may contain NTLM.
///
/// An upstream that authenticates connections takes every later request on the connection for one
/// of the same user.
pub(crate) fn authenticates_connection(headers: &HeaderMap) -> bool {
    [AUTHORIZATION, WWW_AUTHENTICATE]
        .iter()
        .flat_map(|name| members(headers, name))
        .any(names_connection_scheme)
}

/// Returns whether a challenge or credentials begin with such a scheme (RFC 9110 §11.1).
fn names_connection_scheme(member: &[u8]) -> bool {
    let scheme = member.split(|byte| *byte == b' ').next().unwrap_or(member);
    [&b"NTLM"[..], b"Negotiate"]
        .iter()
        .any(|name| scheme.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntlm_and_negotiate_authenticate_the_connection_rfc4559() {
        for (name, lines, expected) in [
            (AUTHORIZATION, &["NTLM TlRMTVNTUAAB"][..], true),
            (AUTHORIZATION, &["negotiate YII="], true),
            (AUTHORIZATION, &["Bearer NTLM"], false),
            (AUTHORIZATION, &["Basic bnRsbQ=="], false),
            (WWW_AUTHENTICATE, &["NTLM"], true),
            (WWW_AUTHENTICATE, &["Basic realm=\"a\", ntlm"], true),
            (WWW_AUTHENTICATE, &["Basic realm=\"a\"", "Negotiate"], true),
            (WWW_AUTHENTICATE, &["Basic realm=\"NTLM\""], false),
            (WWW_AUTHENTICATE, &[], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(name.clone(), line.parse().unwrap());
            }
            assert_eq!(authenticates_connection(&headers), expected, "{lines:?}");
        }
    }
}
