//! Rendezvous-hashing policy.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::{hash::join, http::head::RequestHead, http::headers::ClientScheme};

use super::{
    any_balance::AnyBalance,
    candidates::{Candidate, Candidates},
    least_tunnels::LeastTunnels,
    policy::Balance,
    request_key::{RequestKey, of_bytes},
};

/// Rendezvous-hashing policy: sends requests with the same key to the same upstream.
///
/// Every upstream has a score for the key, computed from the hash of both and from its weight; the
/// highest score wins. All proxies with the same upstreams therefore agree, in whatever order these
/// are listed, without communication and after every restart: the hash is fixed (64-bit FNV-1a,
/// then SplitMix64's finalizer) and depends on the upstream's [name](crate::Upstream::name). When
/// an upstream is added, only the keys that it wins move, its share of all keys; when one is
/// removed, only its own keys move, spread over the others. A slow start has no effect. A half-open
/// upstream has its keys back once a client has succeeded there.
///
/// A client that can choose the key can choose the upstream.
///
/// A request without a key, or with an empty one, is left to the [`fallback`](Self::fallback)
/// policy, [`LeastTunnels`] by default.
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, balance::{Random, Rendezvous}, head::RequestHead};
///
/// // All clients of `/docs/17/…` meet on one upstream.
/// let by_document = Rendezvous::by(|head: &RequestHead<'_>| {
///     let document = head.path().strip_prefix("/docs/")?.split('/').next()?;
///     Some(document.to_owned())
/// });
/// let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?
///     .balance(by_document.fallback(Random::new()));
/// # let _ = pool;
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Rendezvous {
    key: RequestKey,
    load_factor: Option<f64>,
    fallback: AnyBalance,
}

impl Rendezvous {
    /// Uses the client's address as the key; see [`RequestHead::client_ip`].
    pub fn by_client_ip() -> Self {
        Self::new(RequestKey::ClientIp)
    }

    /// Uses the first line of this header as the key.
    pub fn by_header(name: HeaderName) -> Self {
        Self::new(RequestKey::Header(name))
    }

    /// Uses the first value of this query field as the key, decoded as a form: `?room=a+b` and
    /// `?room=a%20b` have the same key. A value with a malformed escape is ignored.
    pub fn by_query(name: &str) -> Self {
        Self::new(RequestKey::Query(name.into()))
    }

    /// Uses the first cookie of this name as the key.
    pub fn by_cookie(name: &str) -> Self {
        Self::new(RequestKey::Cookie(name.into()))
    }

    /// Uses the path as the key, without the query, as [matchers read it](crate::head#the-path).
    pub fn by_path() -> Self {
        Self::new(RequestKey::Path)
    }

    /// Uses the function's result as the key.
    pub fn by<F, K>(key: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> Option<K> + Send + Sync + 'static,
        K: AsRef<[u8]>,
    {
        Self::new(RequestKey::Custom(Arc::new(
            move |request: &RequestHead<'_>| of_bytes(key(request)?.as_ref()),
        )))
    }

    /// Bounds the tunnels of each upstream at this factor of its fair share; at least 1, and without
    /// a bound by default. A key whose upstream is at its bound goes to the one with the next highest
    /// score, so a popular key or an unlucky hash overloads none.
    ///
    /// With 1.25 an upstream gets at most 25 % more tunnels than the mean for its weight (Mirrokni,
    /// Thorup and Zadimoghaddam, *Consistent Hashing with Bounded Loads*, 2016; HAProxy's
    /// `hash-balance-factor 125`). Proxies no longer agree on keys beyond the bound, as each counts
    /// its own tunnels.
    pub fn bounded_load(mut self, factor: f64) -> Self {
        self.load_factor = Some(if factor > 1.0 { factor } else { 1.0 });
        self
    }

    /// Sets the policy for requests without a key.
    pub fn fallback(mut self, policy: impl Balance + 'static) -> Self {
        self.fallback = AnyBalance::new(policy);
        self
    }

    fn new(key: RequestKey) -> Self {
        Self {
            key,
            load_factor: None,
            fallback: AnyBalance::new(LeastTunnels::new()),
        }
    }
}

impl Balance for Rendezvous {
    fn pick(&self, candidates: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize> {
        match self.key.of(request) {
            Some(key) => {
                let bound = self.load_factor.map(|of| Bound::new(candidates, of));
                let has_room =
                    |candidate: &Candidate<'_>| bound.is_none_or(|bound| bound.has_room(candidate));
                let takes_more =
                    |candidate: &Candidate<'_>| !candidate.is_trial_full() && has_room(candidate);
                highest(candidates, key, takes_more).or_else(|| highest(candidates, key, has_room))
            }
            None => self.fallback.pick(candidates, request),
        }
    }

    /// Returns the fallback's header if the fallback has picked.
    fn response_header(
        &self,
        picked: &Candidate<'_>,
        request: &RequestHead<'_>,
        scheme: ClientScheme,
    ) -> Option<(HeaderName, HeaderValue)> {
        match self.key.of(request) {
            Some(_) => None,
            None => self.fallback.response_header(picked, request, scheme),
        }
    }
}

/// Bound on the tunnels of each upstream.
#[derive(Clone, Copy)]
struct Bound {
    tunnels_per_weight: f64,
}

impl Bound {
    /// Takes the tunnels and weights of all candidates, with the tunnel that is about to open.
    fn new(candidates: &Candidates<'_>, factor: f64) -> Self {
        let (mut tunnels, mut weight) = (1_usize, 0_u64);
        for candidate in candidates.iter().filter(Candidate::is_eligible) {
            tunnels += candidate.tunnels();
            weight += u64::from(candidate.weight());
        }
        Self {
            tunnels_per_weight: factor * tunnels as f64 / weight as f64,
        }
    }

    fn has_room(self, candidate: &Candidate<'_>) -> bool {
        let bound = (self.tunnels_per_weight * f64::from(candidate.weight())).ceil();
        (candidate.tunnels() as f64) < bound
    }
}

fn highest(
    candidates: &Candidates<'_>,
    key: u64,
    has_room: impl Fn(&Candidate<'_>) -> bool,
) -> Option<usize> {
    let mut highest: Option<(usize, Score, f64)> = None;
    for (index, (place, name)) in candidates.keys().enumerate() {
        let score = Score {
            hash: join(key, name.hash),
            weight: name.weight,
        };
        if highest.is_none_or(|(_, highest, value)| score.beats(highest, value)) {
            let candidate = candidates.at_unskipped(place);
            let is_possible =
                |candidate: &Candidate<'_>| candidate.is_eligible() && has_room(candidate);
            if candidate.as_ref().is_some_and(is_possible) {
                highest = Some((index, score, score.value()));
            }
        }
    }
    highest.map(|(index, ..)| index)
}

#[derive(Clone, Copy)]
struct Score {
    hash: u64,
    weight: u32,
}

impl Score {
    /// Whether the score is higher than `other`, which has this value.
    fn beats(self, other: Self, value: f64) -> bool {
        if self.weight == other.weight {
            // The order is that of the values, without logarithms.
            return self.hash > other.hash;
        }
        // -ln(x) >= 1 - x rules most out without a logarithm; the factor allows for rounding.
        let most = f64::from(self.weight) / (1.0 - self.fraction());
        most * (1.0 + 1e-9) > value && self.value() > value
    }

    /// Returns the score's value. Among independent values, each is the highest with a probability
    /// in proportion to its weight (an inverted exponential race).
    fn value(self) -> f64 {
        f64::from(self.weight) / -self.fraction().ln()
    }

    /// Returns 52 bits of the hash, plus a half so that the result lies strictly between 0 and 1.
    fn fraction(self) -> f64 {
        ((self.hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        Upstream,
        upstream::balance::{
            First, MockCandidates,
            testing::{Marked, assert_shares, named, picks},
        },
    };

    const KEYS: usize = 100_000;

    /// Returns the name of each key's upstream.
    fn assigned(upstreams: &[Upstream]) -> Vec<String> {
        let mock = MockCandidates::from_upstreams(upstreams.iter().cloned());
        let candidates = mock.candidates();
        let policy = Rendezvous::by_query("k");
        let home = |key: usize| {
            let request = http::Request::get(format!("/?k=user-{key}"))
                .body(())
                .unwrap();
            let index = policy
                .pick(&candidates, &RequestHead::from(&request))
                .unwrap();
            candidates.get(index).unwrap().name().to_owned()
        };
        (0..KEYS).map(home).collect()
    }

    fn shares(assigned: &[String], upstreams: &[Upstream]) -> Vec<usize> {
        let of = |upstream: &Upstream| {
            assigned
                .iter()
                .filter(|home| *home == upstream.name())
                .count()
        };
        upstreams.iter().map(of).collect()
    }

    fn upstreams(count: usize) -> Vec<Upstream> {
        (0..count)
            .map(|index| named(&format!("10.0.0.{index}")))
            .collect()
    }

    #[test]
    fn keys_are_spread_as_the_weights_say() {
        let upstreams: Vec<_> = [1, 2, 0, 5, 2]
            .into_iter()
            .zip(upstreams(5))
            .map(|(weight, upstream)| upstream.weight(weight))
            .collect();
        let shares = shares(&assigned(&upstreams), &upstreams);
        assert_shares(&shares, &[1., 2., 0., 5., 2.]);
    }

    #[test]
    fn alike_upstreams_get_alike_many_keys() {
        let upstreams = upstreams(10);
        assert_shares(&shares(&assigned(&upstreams), &upstreams), &[1.; 10]);
    }

    #[test]
    fn adding_an_upstream_moves_its_share_and_only_to_it() {
        for count in [2, 5, 20] {
            let all = upstreams(count);
            let before = assigned(&all[1..]);
            let after = assigned(&all);
            let moved = before
                .iter()
                .zip(&after)
                .filter(|(before, after)| before != after);
            let mut moves = 0;
            for (_, after) in moved {
                assert_eq!(after, all[0].name());
                moves += 1;
            }
            let bound = KEYS / count + KEYS * 2 / 100;
            assert!(
                moves > KEYS / count / 2 && moves <= bound,
                "{moves} of {bound}"
            );
        }
    }

    #[test]
    fn removing_an_upstream_or_its_weight_moves_only_its_keys() {
        let all = upstreams(6);
        let before = assigned(&all);
        let removed = [&all[..2], &all[3..]].concat();
        let mut weightless = all.clone();
        weightless[2] = all[2].clone().weight(0);
        let after = assigned(&removed);
        assert_eq!(after, assigned(&weightless));
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || before == all[2].name());
        }
        let heirs = shares(
            &before
                .iter()
                .zip(after)
                .filter(|(before, _)| *before == all[2].name())
                .map(|(_, after)| after)
                .collect::<Vec<_>>(),
            &removed,
        );
        assert_shares(&heirs, &[1.; 5]);
    }

    #[test]
    fn a_popular_key_does_not_overload_its_upstream() {
        let request = http::Request::get("/?k=popular").body(()).unwrap();
        let head = RequestHead::from(&request);
        let policy = Rendezvous::by_query("k").bounded_load(1.25);
        let mut mock = MockCandidates::from_upstreams(
            upstreams(10)
                .into_iter()
                .zip([1, 2].into_iter().cycle())
                .map(|(upstream, weight)| upstream.weight(weight)),
        );
        let first = policy.pick(&mock.candidates(), &head);
        for opened in 1..=3_000 {
            let index = policy.pick(&mock.candidates(), &head).unwrap();
            mock.open(index);
            let candidates = mock.candidates();
            for candidate in candidates.iter() {
                let share = f64::from(candidate.weight()) / 15.0;
                let bound = (1.25 * f64::from(opened) * share).ceil();
                assert!(
                    candidate.tunnels() as f64 <= bound,
                    "{candidate:?} of {opened}"
                );
            }
        }
        let first = mock.candidates().get(first.unwrap()).unwrap();
        let share = 3_000.0 * f64::from(first.weight()) / 15.0;
        assert!(
            first.tunnels() as f64 >= 1.2 * share,
            "the first is filled first"
        );
    }

    #[test]
    fn below_the_bound_keys_are_where_they_are_without() {
        let mock = MockCandidates::from_upstreams(upstreams(7));
        for key in 0..100 {
            let request = http::Request::get(format!("/?k={key}")).body(()).unwrap();
            let head = RequestHead::from(&request);
            let home = Rendezvous::by_query("k").pick(&mock.candidates(), &head);
            let bounded = Rendezvous::by_query("k").bounded_load(2.0);
            assert_eq!(bounded.pick(&mock.candidates(), &head), home);
        }
    }

    #[test]
    fn the_order_of_the_upstreams_does_not_matter() {
        let mut upstreams = upstreams(7);
        upstreams[3] = upstreams[3].clone().weight(3);
        let before = assigned(&upstreams);
        upstreams.reverse();
        upstreams.swap(1, 4);
        assert_eq!(before, assigned(&upstreams));
    }

    /// A change of these would move the clients of a fleet back and forth during its update.
    #[test]
    fn picks_are_the_same_in_every_release() {
        let assigned = assigned(&upstreams(5));
        let first: Vec<_> = assigned[..12].iter().map(|home| &home[7..8]).collect();
        assert_eq!(first.concat(), "202211414112");
    }

    #[test]
    fn neither_tunnels_nor_a_slow_start_move_a_key() {
        let request = http::Request::get("/")
            .header("x-room", "blue")
            .body(())
            .unwrap();
        let head = RequestHead::from(&request);
        let policy = Rendezvous::by_header(HeaderName::from_static("x-room"));
        let mut mock = MockCandidates::from_upstreams(upstreams(5));
        let home = policy.pick(&mock.candidates(), &head).unwrap();
        mock.open(home);
        mock.slow_start(home, Duration::from_secs(100));
        assert_eq!(policy.pick(&mock.candidates(), &head), Some(home));
    }

    #[test]
    fn without_a_key_the_fallback_picks_and_marks() {
        let mock = MockCandidates::from_upstreams(upstreams(3));
        let policy = Rendezvous::by(|_: &RequestHead<'_>| None::<String>);
        fastrand::seed(15);
        assert_shares(&picks(&policy, &mock, KEYS), &[1.; 3]);
        let policy = policy.fallback(First::new());
        assert_eq!(picks(&policy, &mock, 9), [9, 0, 0]);
        let empty = Rendezvous::by(|_: &RequestHead<'_>| Some("")).fallback(First::new());
        assert_eq!(picks(&empty, &mock, 9), [9, 0, 0]);

        let request = http::Request::new(());
        let head = RequestHead::from(&request);
        let picked = mock.candidates().get(0).unwrap();
        let mark = |policy: Rendezvous| {
            let policy = policy.fallback(Marked("m"));
            policy.response_header(&picked, &head, ClientScheme::Http)
        };
        assert!(mark(empty).is_some());
        assert!(mark(Rendezvous::by_path()).is_none());
    }

    #[test]
    fn none_is_picked_without_weight() {
        let policy = Rendezvous::by_path();
        let weightless = upstreams(3).into_iter().map(|upstream| upstream.weight(0));
        assert_eq!(
            picks(&policy, &MockCandidates::from_upstreams(weightless), 9),
            [0, 0, 0]
        );
        assert!(picks(&policy, &MockCandidates::from_upstreams([]), 9).is_empty());
    }
}
