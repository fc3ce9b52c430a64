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

/// Returns whether some server could read the request in such a way that the matcher matches it.
///
/// The counterpart of [`owns`] for what is forbidden: a rule that rejects what lies below `/admin`
/// must reject a request as soon as *one* reading of its path lies there, since the upstream may be
/// the one that reads it so. `owns` would let `/ws/..%2fadmin/x` through. A path whose readings are
/// unknown could be anything.
///
/// # Examples
///
/// ```
/// use wsplice::head::RequestHead;
/// use wsplice::matcher::{may_match, owns, path};
///
/// let request = http::Request::get("/ws/public%2f..%2fadmin/users").body(()).unwrap();
/// let head = RequestHead::from(&request);
/// assert!(may_match(&path("/ws/admin/*"), &head));
/// assert!(!owns(&path("/ws/admin/*"), &head));
/// ```
#[must_use]
pub fn may_match<M: Matcher + ?Sized>(matcher: &M, request: &RequestHead<'_>) -> bool {
    request.holds_for_some_reading(|reading| matcher.matches(reading))
}

#[cfg(test)]
mod tests;
