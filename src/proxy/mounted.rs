//! Requests whose path axum's `nest` has shortened.

use http::{Request, Uri};
use tracing::Level;

use crate::{
    escaped::Escaped,
    http::head::{RequestHead, original_uri},
    http::matcher::{AnyMatcher, owns},
};

/// Target that a request had within `nest`, in place of which it has the client's now.
#[derive(Default)]
pub(super) struct Mounted {
    within: Option<Uri>,
}

impl Mounted {
    /// Gives a request the target that the client sent, if axum's router kept it.
    pub(super) fn restore_original<B>(request: &mut Request<B>) -> Self {
        let original = original_uri(request.extensions()).cloned();
        Self {
            within: original.map(|original| std::mem::replace(request.uri_mut(), original)),
        }
    }

    /// Gives the request back its target within `nest`, as the inner service expects it.
    pub(super) fn undo<B>(self, mut request: Request<B>) -> Request<B> {
        if let Some(within) = self.within {
            *request.uri_mut() = within;
        }
        request
    }
}

/// Logs a hint if the matcher does not own a request as it came through `nest`, but would own it by the
/// path that the client sent. The debug level alone pays for it.
pub(super) fn log_hint(matcher: &AnyMatcher, head: RequestHead<'_>) {
    if !tracing::enabled!(Level::DEBUG) {
        return;
    }
    let seen = head.uri().path();
    let original = original_uri(head.extensions()).filter(|it| it.path() != seen);
    if original.is_some_and(|original| owns(matcher, &head.with_uri(original))) {
        tracing::debug!(
            "url.path" = %Escaped(original.map_or("", Uri::path)),
            within_nest = %Escaped(seen),
            "the request is not proxied: `nest` removed a prefix from its path. Match the path within \
             `nest`, or set `ProxyLayer::original_uri`",
        );
    }
}
