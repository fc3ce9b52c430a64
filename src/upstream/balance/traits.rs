//! The trait, and what implements it besides the policies of this module.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::{http::head::RequestHead, http::headers::ClientScheme};

use super::{Candidate, Candidates, OrElse};

/// Picks an upstream for a handshake.
///
/// Closures are policies. So are an `Arc` of any policy and `Box<dyn Balance>`. A policy answers
/// at once and is asked from many threads.
///
/// # Examples
///
/// ```
/// use wsplice::{balance::{Balance, Candidates, Random}, head::RequestHead};
///
/// /// The upstreams of the zone that the request asks for.
/// struct Zone;
///
/// impl Balance for Zone {
///     fn pick(&self, candidates: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize> {
///         let zone = request.headers().get("x-zone")?.to_str().ok()?;
///         candidates.iter().position(|candidate| candidate.tag("zone") == Some(zone))
///     }
/// }
///
/// let policy = Zone.or_else(Random::new());
/// # let _ = policy;
/// ```
pub trait Balance: Send + Sync {
    /// The index of the candidate to use; `None` to use none of them.
    ///
    /// An index that is out of range counts as none.
    fn pick(&self, candidates: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize>;

    /// A header line to add to the answer that `picked` gives, be it the 101 or a refusal; none
    /// by default.
    ///
    /// It is asked for once, after the connection stands, and added after the layer's own header
    /// edits. `scheme` tells what the client speaks, as far as it is known.
    fn response_header(
        &self,
        picked: &Candidate<'_>,
        request: &RequestHead<'_>,
        scheme: ClientScheme,
    ) -> Option<(HeaderName, HeaderValue)> {
        let _ = (picked, request, scheme);
        None
    }

    /// Asks `next` where this one picks none.
    fn or_else<B: Balance>(self, next: B) -> OrElse<Self, B>
    where
        Self: Sized,
    {
        OrElse::new(self, next)
    }
}

impl<F> Balance for F
where
    F: Fn(&Candidates<'_>, &RequestHead<'_>) -> Option<usize> + Send + Sync,
{
    fn pick(&self, candidates: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize> {
        self(candidates, request)
    }
}

// `Arc` is no `Fn`, so this one may be generic; a `Box` of a closure is a closure itself.
impl<B: Balance + ?Sized> Balance for Arc<B> {
    fn pick(&self, candidates: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize> {
        (**self).pick(candidates, request)
    }

    fn response_header(
        &self,
        picked: &Candidate<'_>,
        request: &RequestHead<'_>,
        scheme: ClientScheme,
    ) -> Option<(HeaderName, HeaderValue)> {
        (**self).response_header(picked, request, scheme)
    }
}

impl Balance for Box<dyn Balance + '_> {
    fn pick(&self, candidates: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize> {
        (**self).pick(candidates, request)
    }

    fn response_header(
        &self,
        picked: &Candidate<'_>,
        request: &RequestHead<'_>,
        scheme: ClientScheme,
    ) -> Option<(HeaderName, HeaderValue)> {
        (**self).response_header(picked, request, scheme)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::balance::{
        AnyBalance, First,
        testing::{Marked, picks, trial},
    };

    #[test]
    fn closures_are_policies_also_behind_pointers() {
        let last =
            |candidates: &Candidates<'_>, _: &RequestHead<'_>| candidates.len().checked_sub(1);
        let trial = trial(&[1, 1, 1]);
        assert_eq!(picks(&last, &trial, 1), [0, 0, 1]);
        assert_eq!(picks(&Arc::new(last), &trial, 1), [0, 0, 1]);
        assert_eq!(picks(&Box::new(last), &trial, 1), [0, 0, 1]);
        let boxed: Box<dyn Balance> = Box::new(First::new());
        assert_eq!(picks(&boxed, &trial, 1), [1, 0, 0]);
    }

    #[test]
    fn pointers_pass_the_header_on() {
        let trial = trial(&[1]);
        let request = http::Request::new(());
        let head = RequestHead::from(&request);
        let picked = trial.candidates().get(0).unwrap();
        let is_marked = |policy: &dyn Balance| {
            let header = policy.response_header(&picked, &head, ClientScheme::Http);
            header.is_some()
        };
        let boxed: Box<dyn Balance> = Box::new(Marked("a"));
        assert!(is_marked(&boxed));
        assert!(is_marked(&Arc::new(Marked("a"))));
        assert!(is_marked(&AnyBalance::new(Marked("a"))));
        assert!(!is_marked(&First::new()));
    }
}
