//! One policy after another.

use http::{HeaderName, HeaderValue};

use crate::{http::head::RequestHead, http::headers::ClientScheme};

use super::{Balance, Candidate, Candidates};

/// Asks a second policy where the first picks none; see [`Balance::or_else`].
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

    /// The first one's header, or else the second's, whichever of them has picked.
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
        First,
        testing::{Marked, picks, trial},
    };

    fn none(_: &Candidates<'_>, _: &RequestHead<'_>) -> Option<usize> {
        None
    }

    fn second(_: &Candidates<'_>, _: &RequestHead<'_>) -> Option<usize> {
        Some(1)
    }

    #[test]
    fn the_next_is_asked_only_where_the_first_has_none() {
        let trial = trial(&[1, 1]);
        assert_eq!(picks(&none.or_else(second), &trial, 2), [0, 2]);
        assert_eq!(picks(&second.or_else(First::new()), &trial, 2), [0, 2]);
        assert_eq!(
            picks(&none.or_else(none).or_else(second), &trial, 2),
            [0, 2]
        );
        assert_eq!(picks(&none.or_else(none), &trial, 2), [0, 0]);
    }

    #[test]
    fn a_missing_index_counts_as_none() {
        let trial = trial(&[1]);
        assert_eq!(picks(&second.or_else(First::new()), &trial, 1), [1]);
    }

    #[test]
    fn the_first_header_is_taken() {
        let trial = trial(&[1]);
        let request = http::Request::new(());
        let head = RequestHead::from(&request);
        let picked = trial.candidates().get(0).unwrap();
        let value = |policy: &dyn Balance| {
            let header = policy.response_header(&picked, &head, ClientScheme::Http);
            header.map(|(_, value)| value)
        };
        assert_eq!(value(&none.or_else(Marked("b"))).unwrap(), "b");
        assert_eq!(value(&Marked("a").or_else(Marked("b"))).unwrap(), "a");
        assert_eq!(value(&none.or_else(First::new())), None);
    }
}
