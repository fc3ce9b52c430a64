//! Policy that restricts another one to the upstreams of a tag.

use std::{fmt, sync::Arc};

use http::{HeaderName, HeaderValue};

use crate::{http::head::RequestHead, http::headers::ClientScheme};

use super::{
    any_balance::AnyBalance,
    candidate_list::CandidateList,
    candidates::{Candidate, Candidates},
    least_tunnels::LeastTunnels,
    policy::Balance,
};

/// Policy that uses only the upstreams whose [tag](crate::Upstream::tag) has the value that the
/// request asks for: a zone, a tenant, a release.
///
/// Among these [`LeastTunnels`] picks, or the policy of [`among`](Self::among). A request for which
/// the function returns `None` gets no upstream, unless another policy [follows](Balance::or_else).
///
/// Handshakes for one value wait in a [group](Balance::queue_group) of their own: a value whose
/// upstreams are all full does not hold up the others.
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, Upstream, balance::ByTag, head::RequestHead};
///
/// let by_tenant = ByTag::new("tenant", |head: &RequestHead<'_>| {
///     let tenant = head.headers().get("x-tenant")?.to_str().ok()?;
///     Some(tenant.to_owned())
/// });
/// let pool = Pool::from_upstreams([
///     Upstream::new("ws://10.0.0.1:8080")?.tag("tenant", "a"),
///     Upstream::new("ws://10.0.0.2:8080")?.tag("tenant", "b"),
/// ])
/// .balance(by_tenant);
/// # let _ = pool;
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct ByTag {
    tag: Arc<str>,
    value: Arc<ValueFn>,
    among: AnyBalance,
}

type ValueFn = dyn Fn(&RequestHead<'_>) -> Option<String> + Send + Sync;

impl ByTag {
    /// Uses the upstreams for which this tag has the value that the function returns.
    pub fn new<F>(tag: &str, value: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> Option<String> + Send + Sync + 'static,
    {
        Self {
            tag: tag.into(),
            value: Arc::new(value),
            among: AnyBalance::new(LeastTunnels::new()),
        }
    }

    /// Sets the policy that picks among the upstreams with the value.
    pub fn among(mut self, policy: impl Balance + 'static) -> Self {
        self.among = AnyBalance::new(policy);
        self
    }
}

impl Balance for ByTag {
    fn pick(&self, candidates: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize> {
        let value = (self.value)(request)?;
        let (mut indices, mut members) = (Vec::new(), Vec::new());
        for (index, candidate) in candidates.iter().enumerate() {
            if candidate.tag(&self.tag) == Some(&*value) {
                indices.push(index);
                members.extend(candidates.member(index).cloned());
            }
        }
        let list = CandidateList::unindexed(members);
        let picked = self.among.pick(&candidates.among(&list), request)?;
        indices.get(picked).copied()
    }

    fn response_header(
        &self,
        picked: &Candidate<'_>,
        request: &RequestHead<'_>,
        scheme: ClientScheme,
    ) -> Option<(HeaderName, HeaderValue)> {
        self.among.response_header(picked, request, scheme)
    }

    fn queue_group(&self, request: &RequestHead<'_>) -> Option<String> {
        let value = (self.value)(request)?;
        let tag = &self.tag;
        Some(match self.among.queue_group(request) {
            Some(group) => format!("{tag}={value} and {group}"),
            None => format!("{tag}={value}"),
        })
    }
}

impl fmt::Debug for ByTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByTag")
            .field("tag", &self.tag)
            .field("among", &self.among)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::balance::{
        MockCandidates, Random,
        testing::{assert_shares, named, picks},
    };

    fn zones() -> MockCandidates {
        let upstreams = [("a", 1), ("b", 1), ("a", 3), ("c", 0)];
        MockCandidates::from_upstreams(upstreams.into_iter().enumerate().map(
            |(index, (zone, weight))| {
                let upstream = named(&format!("u{index}")).weight(weight);
                upstream.tag("zone", zone)
            },
        ))
    }

    fn for_zone(zone: &'static str) -> ByTag {
        ByTag::new("zone", move |_| Some(zone.to_owned())).among(Random::new())
    }

    #[test]
    fn only_upstreams_with_the_value_are_picked() {
        fastrand::seed(40);
        let mock = zones();
        assert_shares(&picks(&for_zone("a"), &mock, 100_000), &[1., 0., 3., 0.]);
        assert_eq!(picks(&for_zone("b"), &mock, 9), [0, 9, 0, 0]);
        assert_eq!(picks(&for_zone("c"), &mock, 9), [0; 4], "no weight");
        assert_eq!(picks(&for_zone("d"), &mock, 9), [0; 4]);
        let none = ByTag::new("zone", |_| None);
        assert_eq!(picks(&none, &mock, 9), [0; 4]);
        let next = none.or_else(for_zone("b"));
        assert_eq!(picks(&next, &mock, 9), [0, 9, 0, 0]);
    }

    #[test]
    fn the_queue_group_names_all_upstreams_that_can_be_used() {
        let request = http::Request::new(());
        let head = RequestHead::from(&request);
        let group = |policy: &dyn Balance| policy.queue_group(&head);
        let [a, b] = [for_zone("a"), for_zone("b")];
        assert_eq!(group(&a).as_deref(), Some("zone=a"));
        assert_ne!(group(&a), group(&b));
        assert_eq!(group(&a.clone().or_else(Random::new())), None);
        let either = a.clone().or_else(b.clone());
        assert_eq!(group(&either).as_deref(), Some("zone=a or zone=b"));
        let both = a.among(b);
        assert_eq!(
            group(&AnyBalance::new(both)).as_deref(),
            Some("zone=a and zone=b")
        );
    }
}
