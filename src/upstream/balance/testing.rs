//! Helpers shared by the tests of policies.

use http::{HeaderName, HeaderValue, Request};

use super::{Balance, Candidate, Candidates, MockCandidates};
use crate::{Upstream, http::head::RequestHead, http::headers::ClientScheme};

/// Returns upstreams of these weights, named `u0:80` and so on.
pub(super) fn mock(weights: &[u32]) -> MockCandidates {
    let upstream = |(index, weight): (usize, &u32)| named(&format!("u{index}")).weight(*weight);
    MockCandidates::from_upstreams(weights.iter().enumerate().map(upstream))
}

pub(super) fn named(name: &str) -> Upstream {
    Upstream::new(&format!("ws://{name}:80")).unwrap()
}

/// Counts how often each upstream is picked in `times` picks for a plain request; no tunnels are
/// opened.
///
/// # Panics
///
/// A pick is out of range.
pub(super) fn picks(policy: &dyn Balance, mock: &MockCandidates, times: usize) -> Vec<usize> {
    picks_of(policy, &mock.candidates(), times)
}

pub(super) fn picks_of(
    policy: &dyn Balance,
    candidates: &Candidates<'_>,
    times: usize,
) -> Vec<usize> {
    let request = Request::new(());
    let head = RequestHead::from(&request);
    let mut picks = vec![0; candidates.len()];
    for _ in 0..times {
        if let Some(index) = policy.pick(candidates, &head) {
            picks[index] += 1;
        }
    }
    picks
}

/// Asserts that `picks` agree with independent random picks: by Pearson's chi-square test, with a
/// bound that is exceeded by chance once in a million.
#[track_caller]
pub(super) fn assert_shares(picks: &[usize], shares: &[f64]) {
    assert_eq!(picks.len(), shares.len());
    let total: usize = picks.iter().sum();
    let whole: f64 = shares.iter().sum();
    let mut chi_square = 0.0;
    let mut freedom = -1.0;
    for (picked, share) in picks.iter().zip(shares) {
        if *share == 0.0 {
            assert_eq!(*picked, 0, "{picks:?} of {shares:?}");
            continue;
        }
        let wanted = share / whole * total as f64;
        chi_square += (*picked as f64 - wanted).powi(2) / wanted;
        freedom += 1.0;
    }
    // Wilson and Hilferty's approximation; 4.75 standard deviations are one in a million.
    let spread: f64 = 2.0 / (9.0 * freedom);
    let bound = freedom * (1.0 - spread + 4.75 * spread.sqrt()).powi(3);
    assert!(
        chi_square < bound,
        "{picks:?} of {shares:?}: {chi_square} > {bound}"
    );
}

/// Policy that always picks the first, and adds `x-mark` with this value.
pub(super) struct Marked(pub(super) &'static str);

impl Balance for Marked {
    fn pick(&self, _: &Candidates<'_>, _: &RequestHead<'_>) -> Option<usize> {
        Some(0)
    }

    fn response_header(
        &self,
        _: &Candidate<'_>,
        _: &RequestHead<'_>,
        _: ClientScheme,
    ) -> Option<(HeaderName, HeaderValue)> {
        let name = HeaderName::from_static("x-mark");
        Some((name, HeaderValue::from_static(self.0)))
    }
}
