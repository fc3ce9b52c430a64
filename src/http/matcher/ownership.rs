//! From matching to owning.

use super::Matcher;
use crate::http::head::RequestHead;

/// Whether a layer with this matcher owns the request.
///
/// The matcher is asked once for every reading that the request's path has
/// ([`head`](crate::head#the-path)), the primary one first, until it says no. The usual path
/// has one reading, and then this is [`Matcher::matches`]. A path of which nobody can tell
/// how it will be read is owned by nobody, and the matcher is not asked.
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
/// assert!(owned("//ws/room"));
/// assert!(owned("/%77s/a%2fb"));
/// assert!(!owned("/ws/..%2fprivate"));
/// assert!(!owned("/ws/..;/private"));
/// ```
#[must_use]
pub fn owns<M: Matcher + ?Sized>(matcher: &M, request: &RequestHead<'_>) -> bool {
    request.holds_for_every_reading(|reading| matcher.matches(reading))
}

#[cfg(test)]
mod tests;
