//! The headers by which proxies describe the client to upstreams, and aliases of their names.

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use super::alias::{has_odd_separator, reads_as};

pub(super) static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) static X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
pub(super) static X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Whether a peer's statements about the client are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Trusted,
    Untrusted,
}

/// Returns whether `name` is `Forwarded`, `X-Real-IP`, `X-Forwarded` or `X-Forwarded-*`, with the
/// usual separators.
pub(super) fn is_member(name: &HeaderName) -> bool {
    is_related(name) && !has_odd_separator(name)
}

/// Removes the headers about the client that the sender may not set.
///
/// [Aliases](super::alias) are removed from every sender: a trusted proxy manages the real names and
/// passes aliases on unseen. From an untrusted sender the whole family is removed.
pub(super) fn strip_untrusted(headers: &mut HeaderMap, trust: Trust) {
    let untrusted: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_untrusted(name, trust))
        .cloned()
        .collect();
    for name in &untrusted {
        headers.remove(name);
    }
}

/// Returns whether a sender with this trust may not set the header.
pub(super) fn is_untrusted(name: &HeaderName, trust: Trust) -> bool {
    is_related(name) && (trust == Trust::Untrusted || has_odd_separator(name))
}

/// Returns whether `name` is one of the family, with any separators.
pub(super) fn is_related(name: &HeaderName) -> bool {
    let bytes = name.as_str().as_bytes();
    match bytes.first() {
        Some(b'f') => name == FORWARDED,
        Some(b'x') => {
            reads_as(bytes, b"x-real-ip")
                || reads_as(bytes, b"x-forwarded")
                || bytes
                    .split_at_checked(b"x-forwarded-".len())
                    .is_some_and(|(start, _)| reads_as(start, b"x-forwarded-"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const REAL: [&str; 9] = [
        "Forwarded",
        "X-Real-IP",
        "X-Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Prefix",
        "X-Forwarded-Port",
        "X-Forwarded-Client-Cert",
    ];
    const ALIASES: [&str; 9] = [
        "X_Forwarded_For",
        "x-forwarded_for",
        "X.Forwarded.Proto",
        "x_forwarded-host",
        "X_FORWARDED_PREFIX",
        "X~Forwarded!For",
        "x_forwarded",
        "X_Real_IP",
        "x-real.ip",
    ];
    const UNRELATED: [&str; 7] = [
        "X-Forwardedfor",
        "X-Forward-For",
        "XForwardedFor",
        "X-Real-IPs",
        "My-X-Forwarded-For",
        "My_Header",
        "Forwarded-By",
    ];

    fn all() -> HeaderMap {
        let names = REAL.into_iter().chain(ALIASES).chain(UNRELATED);
        names
            .map(|name| {
                let name = HeaderName::try_from(name).unwrap();
                (name, HeaderValue::from_static("v"))
            })
            .collect()
    }

    #[test]
    fn an_untrusted_sender_keeps_only_unrelated_names() {
        let mut headers = all();
        strip_untrusted(&mut headers, Trust::Untrusted);
        assert_eq!(headers.len(), UNRELATED.len());
        assert!(UNRELATED.iter().all(|name| headers.contains_key(*name)));
    }

    #[test]
    fn a_trusted_sender_loses_only_the_aliases() {
        let mut headers = all();
        strip_untrusted(&mut headers, Trust::Trusted);
        assert_eq!(headers.len(), UNRELATED.len() + REAL.len());
        for alias in ALIASES {
            assert!(!headers.contains_key(alias), "{alias}");
        }
    }

    #[test]
    fn only_real_spellings_are_members() {
        let member = |name: &str| is_member(&HeaderName::try_from(name).unwrap());
        assert!(REAL.into_iter().all(member));
        assert!(!ALIASES.into_iter().any(member));
        assert!(!UNRELATED.into_iter().any(member));
    }
}
