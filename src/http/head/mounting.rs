//! Mounting: what axum's `nest` removed from a request's path before the proxy saw it.

use http::{Extensions, Uri};

/// Returns the target that the client sent, if axum's router kept it.
#[cfg(feature = "axum")]
pub(crate) fn original_uri(extensions: &Extensions) -> Option<&Uri> {
    use axum::extract::OriginalUri;

    extensions.get::<OriginalUri>().map(|original| &original.0)
}

/// Returns nothing: without the feature `axum` no router is known.
#[cfg(not(feature = "axum"))]
pub(crate) const fn original_uri(_extensions: &Extensions) -> Option<&Uri> {
    None
}

/// Replaces the target that the client sent.
#[cfg(feature = "axum")]
pub(super) fn map_original_uri(extensions: &mut Extensions, map: impl FnOnce(&Uri) -> Uri) {
    use axum::extract::OriginalUri;

    if let Some(OriginalUri(uri)) = extensions.get_mut() {
        *uri = map(uri);
    }
}

/// Replaces nothing.
#[cfg(not(feature = "axum"))]
pub(super) fn map_original_uri(_extensions: &mut Extensions, _map: impl FnOnce(&Uri) -> Uri) {}

/// Returns the prefix that was removed from the path of `original` to make that of `seen`; `None` if
/// there is none, or the path was changed in another way.
pub(crate) fn removed_prefix<'a>(original: &'a Uri, seen: &Uri) -> Option<&'a str> {
    let (original, seen) = (original.path(), seen.path());
    let prefix = match original.strip_suffix(seen) {
        Some(prefix) => prefix,
        // The prefix alone was asked for.
        None if seen == "/" => original,
        None => return None,
    };
    (prefix.starts_with('/') && !prefix.ends_with('/')).then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_what_was_removed_in_front_of_the_path() {
        for (original, seen, prefix) in [
            ("/app/ws/a?b", "/ws/a?b", Some("/app")),
            ("/app/v2/ws", "/ws", Some("/app/v2")),
            ("/app", "/", Some("/app")),
            ("/app/", "/", Some("/app")),
            ("/ws/a", "/ws/a", None),
            ("/", "/", None),
            ("/a", "/b", None),
            ("/appws", "/ws", None),
            ("*", "*", None),
            ("/app//ws", "/ws", None),
        ] {
            let (original, seen): (Uri, Uri) = (original.parse().unwrap(), seen.parse().unwrap());
            assert_eq!(
                removed_prefix(&original, &seen),
                prefix,
                "{original} {seen}"
            );
        }
    }
}
