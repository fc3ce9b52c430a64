//! Sets of header names that the lines of every message are compared with.

use http::{HeaderMap, HeaderName};

/// A set of header names in lower case.
///
/// Most names of a message are in no set. A filter of 64 bits rejects nearly all of them by their length
/// and first byte, before names are compared.
#[derive(Debug)]
pub(crate) struct NameSet {
    names: &'static [&'static str],
    filter: u64,
}

impl NameSet {
    pub(crate) const EMPTY: Self = Self::new(&[]);

    pub(crate) const fn new(names: &'static [&'static str]) -> Self {
        let mut filter = 0;
        let mut index = 0;
        while index < names.len() {
            filter |= filter_bit(names[index]);
            index += 1;
        }
        Self { names, filter }
    }

    #[cfg(test)]
    pub(super) const fn names(&self) -> &'static [&'static str] {
        self.names
    }

    #[inline]
    pub(crate) fn contains(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        self.filter & filter_bit(name) != 0 && self.names.contains(&name)
    }

    /// Removes the headers of the set.
    pub(crate) fn remove_from(&self, headers: &mut HeaderMap) {
        while let Some(name) = headers.keys().find(|name| self.contains(name)).cloned() {
            headers.remove(name);
        }
    }
}

/// Returns the bit of a name in the filters. The factor separates the names of common headers best.
const fn filter_bit(name: &str) -> u64 {
    let name = name.as_bytes();
    let first = match name {
        [first, ..] => *first as usize,
        [] => 0,
    };
    1 << ((name.len() * 7 + first) % 64)
}

#[cfg(test)]
mod tests {
    use http::{
        HeaderValue,
        header::{ACCEPT, CONNECTION, HOST, TE, TRAILER, UPGRADE},
    };

    use super::*;

    static SET: NameSet = NameSet::new(&["connection", "te", "x-own"]);

    #[test]
    fn a_set_contains_its_names_alone() {
        for name in ["connection", "te", "x-own"] {
            assert!(SET.contains(&HeaderName::from_static(name)), "{name}");
        }
        // The last two have the bits of `te` and of `x-own`.
        for name in ["t", "tee", "x-owns", "user-agent", "tz", "x-two"] {
            assert!(!SET.contains(&HeaderName::from_static(name)), "{name}");
            assert!(!NameSet::EMPTY.contains(&HeaderName::from_static(name)));
        }
    }

    #[test]
    fn all_lines_of_the_set_are_removed() {
        let own = HeaderName::from_static("x-own");
        let mut headers = HeaderMap::new();
        for name in [
            HOST, TE, own, CONNECTION, ACCEPT, CONNECTION, UPGRADE, TRAILER,
        ] {
            headers.append(name, HeaderValue::from_static("v"));
        }
        SET.remove_from(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "host", "trailer", "upgrade"]);
    }

    #[test]
    fn a_name_of_any_length_can_be_looked_up() {
        let long = HeaderName::try_from("n".repeat(2000)).unwrap();
        assert!(!SET.contains(&long));
    }
}
