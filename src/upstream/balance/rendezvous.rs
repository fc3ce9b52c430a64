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
mod tests;
