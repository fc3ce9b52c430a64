//! Labels: the key of a series, and values with a bound on their number.

use std::{fmt, sync::Arc};

use http::StatusCode;
use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

/// Key of a series: its pool, its upstream if it has one, and the values of further labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key<const N: usize> {
    pub(crate) pool: Arc<str>,
    pub(crate) upstream: Option<Arc<str>>,
    pub(crate) values: [&'static str; N],
}

/// Names of the labels of a family, beside `pool`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<const N: usize> {
    pub(crate) scope: Scope,
    pub(crate) names: [&'static str; N],
}

/// Whether a family has a series for each upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Pool,
    Upstream,
}

/// Names and values of one series.
pub(crate) struct LabelSet<'a, const N: usize>(pub(crate) Names<N>, pub(crate) &'a Key<N>);

impl<const N: usize> EncodeLabelSet for LabelSet<'_, N> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let Self(names, key) = self;
        ("pool", &*key.pool).encode(encoder.encode_label())?;
        if names.scope == Scope::Upstream {
            let upstream = key.upstream.as_deref().unwrap_or_default();
            ("upstream", upstream).encode(encoder.encode_label())?;
        }
        for label in names.names.into_iter().zip(key.values) {
            label.encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

/// Statuses with a label of their own: those of the IANA registry that servers send.
const STATUSES: [&str; 54] = [
    "101", "200", "201", "202", "203", "204", "205", "206", "207", "208", "226", "300", "301",
    "302", "303", "304", "305", "307", "308", "400", "401", "402", "403", "404", "405", "406",
    "407", "408", "409", "410", "411", "412", "413", "414", "415", "416", "417", "421", "422",
    "423", "424", "425", "426", "428", "429", "431", "451", "500", "501", "502", "503", "504",
    "505", "511",
];

/// Returns the label of a status: its code if it is registered, else its class.
pub(crate) fn status(status: StatusCode) -> &'static str {
    if let Some(known) = STATUSES.iter().find(|known| **known == status.as_str()) {
        return known;
    }
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_bounded_to_registered_codes_and_classes() {
        let label = |code| status(StatusCode::from_u16(code).unwrap());
        let all: std::collections::BTreeSet<_> = (100..=999).map(label).collect();
        assert_eq!(all.len(), STATUSES.len() + 6);
        for (code, expected) in [
            (101, "101"),
            (429, "429"),
            (199, "1xx"),
            (418, "4xx"),
            (599, "5xx"),
            (999, "other"),
        ] {
            assert_eq!(label(code), expected);
        }
    }
}
