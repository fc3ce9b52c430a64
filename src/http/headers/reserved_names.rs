//! Names that are reserved to the host: no trailer of a request may have one.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::hop_by_hop::strip_trailers;

/// Names of headers that trailers must not have, beside those that belong ahead of the content.
#[derive(Clone, Debug)]
pub(crate) enum ReservedNames {
    These(Arc<[HeaderName]>),
    /// Any name: a function of the host edits the headers, and may change each of them.
    All,
}

impl ReservedNames {
    /// Removes what trailers must not have.
    pub(crate) fn strip(&self, trailers: &mut HeaderMap) {
        match self {
            Self::These(names) => strip_trailers(trailers, names),
            Self::All => trailers.clear(),
        }
    }
}

impl FromIterator<HeaderName> for ReservedNames {
    fn from_iter<I: IntoIterator<Item = HeaderName>>(names: I) -> Self {
        Self::These(names.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn trailers_lose_the_reserved_names_or_all_if_any_may_be_reserved() {
        let names = ["x-user", "x-sum"].map(HeaderName::from_static);
        let value = HeaderValue::from_static("v");
        let all: HeaderMap = names
            .clone()
            .map(|name| (name, value.clone()))
            .into_iter()
            .collect();
        let mut left = all.clone();
        ReservedNames::from_iter([names[0].clone()]).strip(&mut left);
        assert_eq!(left.keys().collect::<Vec<_>>(), [&names[1]]);
        let mut left = all;
        ReservedNames::All.strip(&mut left);
        assert!(left.is_empty());
    }
}
