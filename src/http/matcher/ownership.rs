//! Ownership of a request: a match in every reading of its path.

use super::traits::Matcher;
use crate::http::head::RequestHead;

/// Returns whether a layer with this matcher owns the request.
///
/// The matcher is evaluated on every reading of the request's path
/// ([`head`](crate::head#the-path)), the primary one first, up to the first mismatch. An ordinary
/// path has one reading, so that this is the same as [`Matcher::matches`]. A path whose readings
/// are unknown is never owned, and the matcher is not evaluated.
///
/// # Examples
///
/// ```
/// use wsplice::head::RequestHead;
/// use wsplice::matcher::{owns, path};
///
/// let owned = |target: &str| {
///     let request = http::Request::get(target).body(()).unwrap();
///     owns(&path("/ws/*"), &RequestHead::from(&request))
/// };
/// assert!(owned("/ws//room"));
/// assert!(owned("/%77s/a%2fb"));
/// assert!(!owned("/ws/..%2fprivate"));
/// assert!(!owned("/ws/..;/private"));
/// assert!(!owned("//ws/room"));
/// ```
#[must_use]
pub fn owns<M: Matcher + ?Sized>(matcher: &M, request: &RequestHead<'_>) -> bool {
    request.holds_for_every_reading(|reading| matcher.matches(reading))
}

#[cfg(test)]
mod tests;
