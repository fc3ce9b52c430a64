//! Hash function that is the same in every process, on every machine, in every release.
//!
//! All proxies of a fleet must pick alike by hash, so neither the function nor its constants may
//! ever change: 64-bit FNV-1a over the bytes, followed by the finalizer of SplitMix64. The first
//! reads bytes in any number; the second spreads every bit over all others, which the first alone
//! does badly for short texts.
//!
//! The hash has no key: a party that chooses the bytes can choose the hash.

const FNV_OFFSET_BASIS: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01B3;

/// Hashes a byte string.
pub(crate) fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    mix(fnv1a(bytes))
}

/// Combines two hashes.
pub(crate) const fn join(one: u64, other: u64) -> u64 {
    mix(one ^ other)
}

fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(FNV_OFFSET_BASIS, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
    })
}

/// The finalizer of SplitMix64: a bijection.
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_published_functions() {
        for (text, wanted) in [
            ("", 0xCBF2_9CE4_8422_2325),
            ("a", 0xAF63_DC4C_8601_EC8C),
            ("foobar", 0x8594_4171_F739_67E8),
        ] {
            assert_eq!(fnv1a(text.bytes()), wanted, "{text}");
        }
        // The first number that SplitMix64 yields from the seed 0.
        assert_eq!(mix(0x9E37_79B9_7F4A_7C15), 0xE220_A839_7B1D_CDAF);
    }

    #[test]
    fn one_bit_changes_half_of_all_bits() {
        let changed: u32 = (0..1_000_u32)
            .map(|n| {
                let near = (n ^ 1).to_be_bytes();
                (hash(n.to_be_bytes()) ^ hash(near)).count_ones()
            })
            .sum();
        assert!((31_000..33_000).contains(&changed), "{changed}");
    }
}
