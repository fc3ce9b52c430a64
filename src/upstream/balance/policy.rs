//! Trait of load-balancing policies, its implementations for closures and pointers, and the policy
//! that its method makes.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::{http::head::RequestHead, http::headers::ClientScheme};

use super::candidates::{Candidate, Candidates};

/// Load-balancing policy: picks an upstream for a handshake.
///
/// Closures are policies, and so are an `Arc` of any policy and `Box<dyn Balance>`. A policy is
/// called from many threads and must not block.
///
/// # Examples
///
/// ```
/// use wsplice::{balance::{Balance, Candidates, Random}, head::RequestHead};
///
/// /// Picks the upstreams of the zone that the request names.
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
    /// Returns the index of the candidate to use; `None` to use none of them.
    ///
    /// An index out of range counts as `None`.
    ///
    /// Indices shift: the candidates are those upstreams that may be picked at this moment, so an
    /// index names another upstream as soon as one of them fails, recovers, is drained or has been
    /// tried for the same request. A policy that computes an index from a key (`hash % len`) moves
    /// most keys at each of these. For keys use [`Rendezvous::by`](super::Rendezvous::by), which
    /// moves only those of the upstream in question; for state of your own use the candidates'
    /// [names](Candidate::name).
    fn pick(&self, candidates: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize>;

    /// Returns a header line to add to the response of `picked`, be it the 101 or a refusal; none
    /// by default.
    ///
    /// The method is called once, after the connection is established, and the header is added
    /// after the layer's own header edits. `scheme` is the client's, as far as it is known.
    fn response_header(
        &self,
        picked: &Candidate<'_>,
        request: &RequestHead<'_>,
        scheme: ClientScheme,
    ) -> Option<(HeaderName, HeaderValue)> {
        let _ = (picked, request, scheme);
        None
    }

    /// Names the set of upstreams that the request can use, if other requests can use others: for
    /// example by the tag that the policy looks for. `None` by default.
    ///
    /// Handshakes that wait in the pool's [queue](crate::pool::PoolBuilder::queue) do so in groups of the
    /// same name, each first come, first served; only the first of a group tries when there may be
    /// room. Those without a name are grouped by route, and by the upstream for whose want they were
    /// refused. [`ByTag`](super::ByTag) names its tag.
    fn queue_group(&self, request: &RequestHead<'_>) -> Option<String> {
        let _ = request;
        None
    }

    /// Uses `next` where this policy picks none.
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

// `Arc` does not implement `Fn`, so this one may be generic; a `Box` of a closure is a closure
// itself.
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

    fn queue_group(&self, request: &RequestHead<'_>) -> Option<String> {
        (**self).queue_group(request)
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

    fn queue_group(&self, request: &RequestHead<'_>) -> Option<String> {
        (**self).queue_group(request)
    }
}

/// Policy with a fallback: uses the second where the first picks none; see [`Balance::or_else`].
#[derive(Clone, Debug)]
pub struct OrElse<A, B> {
    first: A,
    next: B,
}

impl<A, B> OrElse<A, B> {
    pub(super) const fn new(first: A, next: B) -> Self {
        Self { first, next }
    }
}

impl<A: Balance, B: Balance> Balance for OrElse<A, B> {
    fn pick(&self, candidates: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize> {
        let in_range = |index: &usize| *index < candidates.len();
        self.first
            .pick(candidates, request)
            .filter(in_range)
            .or_else(|| self.next.pick(candidates, request))
    }

    /// Returns both policies' groups together, if both name one.
    fn queue_group(&self, request: &RequestHead<'_>) -> Option<String> {
        let first = self.first.queue_group(request)?;
        let next = self.next.queue_group(request)?;
        Some(format!("{first} or {next}"))
    }

    /// Returns the first policy's header, or else the second's, whichever of them has picked.
    fn response_header(
        &self,
        picked: &Candidate<'_>,
        request: &RequestHead<'_>,
        scheme: ClientScheme,
    ) -> Option<(HeaderName, HeaderValue)> {
        self.first
            .response_header(picked, request, scheme)
            .or_else(|| self.next.response_header(picked, request, scheme))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::balance::{
        AnyBalance, First,
        testing::{Marked, mock, picks},
    };

    #[test]
    fn closures_are_policies_also_behind_pointers() {
        let last =
            |candidates: &Candidates<'_>, _: &RequestHead<'_>| candidates.len().checked_sub(1);
        let mock = mock(&[1, 1, 1]);
        assert_eq!(picks(&last, &mock, 1), [0, 0, 1]);
        assert_eq!(picks(&Arc::new(last), &mock, 1), [0, 0, 1]);
        assert_eq!(picks(&Box::new(last), &mock, 1), [0, 0, 1]);
        let boxed: Box<dyn Balance> = Box::new(First::new());
        assert_eq!(picks(&boxed, &mock, 1), [1, 0, 0]);
    }

    #[test]
    fn pointers_pass_the_header_on() {
        let mock = mock(&[1]);
        let request = http::Request::new(());
        let head = RequestHead::from(&request);
        let picked = mock.candidates().get(0).unwrap();
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

    fn none(_: &Candidates<'_>, _: &RequestHead<'_>) -> Option<usize> {
        None
    }

    fn second(_: &Candidates<'_>, _: &RequestHead<'_>) -> Option<usize> {
        Some(1)
    }

    #[test]
    fn the_next_is_asked_only_where_the_first_has_none() {
        let mock = mock(&[1, 1]);
        assert_eq!(picks(&none.or_else(second), &mock, 2), [0, 2]);
        assert_eq!(picks(&second.or_else(First::new()), &mock, 2), [0, 2]);
        assert_eq!(picks(&none.or_else(none).or_else(second), &mock, 2), [0, 2]);
        assert_eq!(picks(&none.or_else(none), &mock, 2), [0, 0]);
    }

    #[test]
    fn a_missing_index_counts_as_none() {
        let mock = mock(&[1]);
        assert_eq!(picks(&second.or_else(First::new()), &mock, 1), [1]);
    }

    #[test]
    fn the_first_header_is_taken() {
        let mock = mock(&[1]);
        let request = http::Request::new(());
        let head = RequestHead::from(&request);
        let picked = mock.candidates().get(0).unwrap();
        let value = |policy: &dyn Balance| {
            let header = policy.response_header(&picked, &head, ClientScheme::Http);
            header.map(|(_, value)| value)
        };
        assert_eq!(value(&none.or_else(Marked("b"))).unwrap(), "b");
        assert_eq!(value(&Marked("a").or_else(Marked("b"))).unwrap(), "a");
        assert_eq!(value(&none.or_else(First::new())), None);
    }
}
