//! Aliases of header names: names that become the same where an upstream folds punctuation.
//!
//! CGI (RFC 3875 §4.1.18) and its descendants turn `X_Forwarded_For` and `X-Forwarded-For` into the
//! same variable. A proxy that manages the real name and passes the alias on unseen lets clients
//! write the variable (GHSA-f59h-q822-g45g, GHSA-5m6w-wvh7-57vm).

use http::{HeaderMap, HeaderName};

/// Headers that the proxy itself writes or removes, beside the family of `X-Forwarded-*`: the framing
/// of a message, its connection, and the handshake.
const MANAGED: [&str; 13] = [
    "content-length",
    "transfer-encoding",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
    "http2-settings",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
];

/// Removes the aliases of managed headers, and of `others`. The headers themselves stay.
pub(crate) fn strip_aliases(headers: &mut HeaderMap, others: &[HeaderName]) {
    let aliases: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_alias_of_managed(name, others))
        .cloned()
        .collect();
    for name in &aliases {
        headers.remove(name);
    }
}

/// Returns whether `name` is an alias of a managed header, or of one of `others`.
pub(crate) fn is_alias_of_managed(name: &HeaderName, others: &[HeaderName]) -> bool {
    // An alias of a name without odd separators has one.
    (has_odd_separator(name) && MANAGED.iter().any(|model| is_alias(name, model)))
        || others.iter().any(|model| is_alias(name, model.as_str()))
}

/// Returns whether `name` differs from `model` in punctuation alone.
fn is_alias(name: &HeaderName, model: &str) -> bool {
    name.as_str() != model && reads_as(name.as_str().as_bytes(), model.as_bytes())
}

/// Returns whether `name` equals `model` once any punctuation counts as `-`.
///
/// Punctuation is more than `_` and `.`: Apache's CGI folds every character that is neither a
/// letter nor a digit. `HeaderName` is always in lower case, so the comparison is exact.
pub(super) fn reads_as(name: &[u8], model: &[u8]) -> bool {
    let folds = |byte: u8| !byte.is_ascii_alphanumeric();
    name.len() == model.len()
        && name
            .iter()
            .zip(model)
            .all(|(byte, wanted)| byte == wanted || (folds(*wanted) && folds(*byte)))
}

/// Returns whether `name` has punctuation other than `-`.
pub(super) fn has_odd_separator(name: &HeaderName) -> bool {
    name.as_str()
        .bytes()
        .any(|byte| IS_ODD_SEPARATOR[usize::from(byte)])
}

/// Whether a byte is punctuation other than `-`. A table, because each byte of each name is looked up.
static IS_ODD_SEPARATOR: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = !(byte as u8).is_ascii_alphanumeric() && byte as u8 != b'-';
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn left(names: &[&'static str], others: &[HeaderName]) -> Vec<String> {
        let value = HeaderValue::from_static("v");
        let mut headers: HeaderMap = names
            .iter()
            .map(|name| (HeaderName::try_from(*name).unwrap(), value.clone()))
            .collect();
        strip_aliases(&mut headers, others);
        let mut left: Vec<_> = headers.keys().map(HeaderName::to_string).collect();
        left.sort();
        left
    }

    #[test]
    fn aliases_of_the_framing_are_removed() {
        for alias in [
            "Content_Length",
            "content.length",
            "Transfer_Encoding",
            "TRANSFER.ENCODING",
            "Sec_WebSocket_Key",
            "Proxy_Authorization",
            "Keep!Alive",
        ] {
            assert_eq!(left(&[alias], &[]), [""; 0], "{alias}");
        }
    }

    #[test]
    fn real_names_and_unrelated_ones_stay() {
        let names = [
            "content-length",
            "content_type",
            "my_header",
            "sec-websocket-key",
        ];
        assert_eq!(left(&names, &[]), names);
    }

    #[test]
    fn aliases_of_further_names_are_removed() {
        let user = HeaderName::from_static("x_user-id");
        let names = [
            "x-user-id",
            "x_user_id",
            "x_user-id",
            "x-user.id",
            "x-userid",
        ];
        assert_eq!(left(&names, &[user]), ["x-userid", "x_user-id"]);
    }
}
