//! Index of the tunnels that have a key.

use std::collections::BTreeSet;

/// Bits of a tunnel's number in an entry of the index. The rest is the hash of its key.
///
/// A registry does not number so many tunnels in a lifetime: 2^40 are 10,000 a second for three years.
const ID_BITS: u32 = 40;

/// The numbers of the tunnels that have a key, by a hash of the key, in eight bytes for each tunnel.
///
/// The key itself is kept by the tunnel. Several keys may have one hash, so the caller compares the keys of
/// the tunnels that it finds. Tunnels without a key take no room.
pub(super) struct KeyIndex {
    /// The number that all others are counted from.
    first: u64,
    entries: BTreeSet<u64>,
}

impl KeyIndex {
    pub(super) const fn new(first: u64) -> Self {
        Self {
            first,
            entries: BTreeSet::new(),
        }
    }

    pub(super) fn add(&mut self, hash: u64, id: u64) {
        self.entries.insert(self.entry(hash, id));
    }

    pub(super) fn remove(&mut self, hash: u64, id: u64) {
        self.entries.remove(&self.entry(hash, id));
    }

    /// The tunnels whose keys have this hash, in the order of their numbers.
    pub(super) fn with_hash(&self, hash: u64) -> impl Iterator<Item = u64> {
        let begin = hash << ID_BITS;
        let range = self.entries.range(begin..=begin | mask());
        range.map(|entry| self.first.wrapping_add(entry & mask()))
    }

    const fn entry(&self, hash: u64, id: u64) -> u64 {
        hash << ID_BITS | id.wrapping_sub(self.first) & mask()
    }
}

const fn mask() -> u64 {
    (1 << ID_BITS) - 1
}
