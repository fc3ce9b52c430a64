//! Preference of a single request for some of the upstreams.

use crate::http::head::RequestHead;

use super::{
    any_balance::AnyBalance,
    candidate_list::CandidateList,
    candidates::{Candidate, Candidates},
    policy::Balance,
};

/// Preference of a request for an upstream, by its name or its tags. It travels in the request's
/// extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preference {
    name: Option<Box<str>>,
    tags: Vec<(Box<str>, Box<str>)>,
}

impl Preference {
    pub(crate) fn set_name(&mut self, name: Box<str>) {
        self.name = Some(name);
    }

    pub(crate) fn add_tag(&mut self, tag: Box<str>, value: Box<str>) {
        self.tags.push((tag, value));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.name.is_none() && self.tags.is_empty()
    }

    /// Returns this preference, or the other one if this prefers nothing.
    pub(crate) fn or(self, other: Self) -> Self {
        if self.is_empty() { other } else { self }
    }

    /// Picks among the preferred candidates by this policy; `None` if none of them has room.
    pub(crate) fn pick(
        &self,
        policy: &AnyBalance,
        candidates: &Candidates<'_>,
        request: &RequestHead<'_>,
    ) -> Option<usize> {
        let (mut indices, mut members) = (Vec::new(), Vec::new());
        for (index, candidate) in candidates.iter().enumerate() {
            if self.covers(&candidate) {
                indices.push(index);
                members.extend(candidates.member(index).cloned());
            }
        }
        if indices.is_empty() {
            return None;
        }
        let list = CandidateList::unindexed(members);
        let picked = policy.pick(&candidates.among(&list), request)?;
        indices.get(picked).copied()
    }

    /// Returns whether the candidate has the name and the tags, and room.
    fn covers(&self, candidate: &Candidate<'_>) -> bool {
        let is_named = |name: &str| name == candidate.name();
        let is_tagged = |(tag, value): &(Box<str>, Box<str>)| candidate.tag(tag) == Some(&**value);
        self.name.as_deref().is_none_or(is_named)
            && self.tags.iter().all(is_tagged)
            && !candidate.is_full()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::upstream::balance::{MockCandidates, Random, testing::named};

    fn preferring(name: Option<&str>, tags: &[(&str, &str)]) -> Preference {
        let mut preference = Preference::default();
        if let Some(name) = name {
            preference.set_name(name.into());
        }
        for (tag, value) in tags {
            preference.add_tag((*tag).into(), (*value).into());
        }
        preference
    }

    #[test]
    fn only_preferred_upstreams_are_picked_by_name_and_by_all_tags() {
        let upstreams = [("a", "x"), ("a", "y"), ("b", "y")];
        let mock = MockCandidates::from_upstreams(upstreams.iter().enumerate().map(
            |(index, (zone, kind))| {
                let upstream = named(&format!("u{index}"));
                upstream.tag("zone", zone).tag("kind", kind)
            },
        ));
        let policy = AnyBalance::new(Random::new());
        let request = Request::new(());
        let head = RequestHead::from(&request);
        for (preference, picked) in [
            (preferring(Some("u2:80"), &[]), Some(2)),
            (preferring(None, &[("zone", "a"), ("kind", "y")]), Some(1)),
            (preferring(Some("u0:80"), &[("zone", "b")]), None),
            (preferring(None, &[("zone", "c")]), None),
            (preferring(Some("u9"), &[]), None),
        ] {
            for _ in 0..20 {
                let index = preference.pick(&policy, &mock.candidates(), &head);
                assert_eq!(index, picked, "{preference:?}");
            }
        }
    }
}
