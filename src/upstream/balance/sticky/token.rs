//! Tokens that identify an upstream in a cookie.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::upstream::balance::candidates::{Candidate, Candidates};

/// Creates tokens that identify an upstream, and verifies them.
///
/// A token is `mac || sealed`, in hexadecimal digits:
///
/// - `mac`, 32 bytes: HMAC-SHA-256 (RFC 2104) of the upstream's name. It alone identifies the
///   upstream, and is compared in constant time.
/// - `sealed`, 8 bytes: the hash of the name, under a pad that is derived from `mac`. It finds the
///   upstream whose name to verify, without an HMAC for every upstream of the pool. A forger gains
///   nothing from it: a right hash with a wrong `mac` is rejected.
///
/// Without the key a token reveals nothing of the name: both parts look random, since every name
/// has a pad of its own. All proxies with the same key create the same tokens.
#[derive(Clone)]
pub(super) struct Tokens {
    keyed: Hmac<Sha256>,
}

const MAC: usize = 32;
const SEALED: usize = 8;
const TOKEN: usize = MAC + SEALED;

impl Tokens {
    /// Returns `None` if HMAC rejects the key; it accepts keys of any length.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let keyed = Hmac::new_from_slice(key).ok()?;
        Some(Self { keyed })
    }

    /// Returns the token of this upstream: 80 hexadecimal digits, in lower case.
    pub(super) fn encode(&self, candidate: &Candidate<'_>) -> String {
        let mac: [u8; MAC] = self.mac_of(candidate.name()).finalize().into_bytes().into();
        let sealed = candidate.name_hash() ^ self.pad(&mac);
        let mut token = HEXLOWER.encode(&mac);
        HEXLOWER.encode_append(&sealed.to_be_bytes(), &mut token);
        token
    }

    /// Returns the index of the candidate that the token identifies.
    pub(super) fn find(&self, token: &[u8], candidates: &Candidates<'_>) -> Option<usize> {
        let (mac, sealed) = decode(token)?;
        let hash = sealed ^ self.pad(&mac);
        let is_named = |candidate: Candidate<'_>| {
            candidate.is_eligible()
                && !candidate.is_trial_full()
                && self.mac_of(candidate.name()).verify_slice(&mac).is_ok()
        };
        candidates.keys().position(|(place, name)| {
            name.hash == hash && candidates.at_unskipped(place).is_some_and(is_named)
        })
    }

    /// Whether the token identifies this candidate.
    pub(super) fn matches(&self, token: &[u8], candidate: &Candidate<'_>) -> bool {
        decode(token).is_some_and(|(mac, sealed)| {
            candidate.name_hash() == sealed ^ self.pad(&mac)
                && self.mac_of(candidate.name()).verify_slice(&mac).is_ok()
        })
    }

    fn mac_of(&self, name: &str) -> Hmac<Sha256> {
        self.keyed
            .clone()
            .chain_update(b"upstream\0")
            .chain_update(name)
    }

    fn pad(&self, mac: &[u8; MAC]) -> u64 {
        let keyed = self.keyed.clone();
        let pad = keyed.chain_update(b"pad\0").chain_update(mac).finalize();
        let pad: [u8; MAC] = pad.into_bytes().into();
        first_eight(&pad)
    }
}

fn first_eight(bytes: &[u8]) -> u64 {
    let eight = bytes.iter().take(SEALED);
    eight.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Capitals are rejected, so that each token has one spelling.
fn decode(token: &[u8]) -> Option<([u8; MAC], u64)> {
    if token.len() != 2 * TOKEN {
        return None;
    }
    let mut bytes = [0; TOKEN];
    HEXLOWER.decode_mut(token, &mut bytes).ok()?;
    let (mac, sealed) = bytes.split_first_chunk()?;
    Some((*mac, first_eight(sealed)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::upstream::balance::testing::mock;

    fn tokens(key: u8) -> Tokens {
        Tokens::new(&[key; 32]).unwrap()
    }

    fn token_of(key: u8, index: usize) -> String {
        let mock = mock(&[1, 1, 1]);
        let candidate = mock.candidates().get(index).unwrap();
        tokens(key).encode(&candidate)
    }

    fn found(token: &[u8]) -> Option<usize> {
        tokens(1).find(token, &mock(&[1, 1, 1]).candidates())
    }

    #[test]
    fn a_token_names_its_upstream_and_no_other() {
        for index in 0..3 {
            let token = token_of(1, index);
            assert_eq!(found(token.as_bytes()), Some(index));
            let mock = mock(&[1, 1, 1]);
            let named = |at| {
                let candidate = mock.candidates().get(at).unwrap();
                tokens(1).matches(token.as_bytes(), &candidate)
            };
            assert_eq!(
                [named(0), named(1), named(2)],
                [0, 1, 2].map(|at| at == index)
            );
        }
    }

    #[test]
    fn the_mac_is_hmac_sha_256_of_the_name() {
        // HMAC of "upstream\0u0:80" under 32 bytes of 0x01, by another implementation.
        let wanted = "91f56377d73ef0221131430e457ec74179adc226d0f0ca306d4204e0760fa62f";
        assert_eq!(token_of(1, 0)[..64], *wanted);
    }

    #[test]
    fn every_changed_digit_invalidates_the_token() {
        let token = token_of(1, 1).into_bytes();
        for at in 0..token.len() {
            for digit in *b"0f" {
                let mut forged = token.clone();
                forged[at] = if forged[at] == digit { b'7' } else { digit };
                if forged != token {
                    assert_eq!(found(&forged), None, "{at}");
                }
            }
        }
    }

    #[test]
    fn a_truncated_extended_or_respelled_token_is_rejected() {
        let token = token_of(1, 1);
        for length in 0..token.len() {
            assert_eq!(found(&token.as_bytes()[..length]), None, "{length}");
        }
        assert_eq!(found(format!("{token}0").as_bytes()), None);
        assert_eq!(found(format!("{token}00").as_bytes()), None);
        assert_eq!(found(token.to_uppercase().as_bytes()), None);
    }

    #[test]
    fn a_token_of_another_key_is_rejected() {
        assert_ne!(token_of(1, 1), token_of(2, 1));
        assert_eq!(found(token_of(2, 1).as_bytes()), None);
    }

    #[test]
    fn one_upstreams_mac_does_not_go_with_anothers_hash() {
        let (one, other) = (token_of(1, 0), token_of(1, 1));
        let spliced = format!("{}{}", &one[..2 * MAC], &other[2 * MAC..]);
        assert_eq!(found(spliced.as_bytes()), None);
        for index in 0..3 {
            let mock = mock(&[1, 1, 1]);
            let candidate = mock.candidates().get(index).unwrap();
            assert!(!tokens(1).matches(spliced.as_bytes(), &candidate));
        }
    }

    #[test]
    fn the_pad_of_a_hash_is_hmac_sha_256_of_the_mac() {
        // HMAC of "pad\0" and 32 bytes of 0x07 under 32 bytes of 0x01, by another implementation.
        assert_eq!(tokens(1).pad(&[7; MAC]), 0x4f89_ee54_8594_ee93);
    }

    #[test]
    fn removed_and_weightless_upstreams_are_not_found() {
        let token = token_of(1, 2);
        let fewer = mock(&[1, 1]);
        assert_eq!(tokens(1).find(token.as_bytes(), &fewer.candidates()), None);
        let weightless = mock(&[1, 1, 0]);
        assert_eq!(
            tokens(1).find(token.as_bytes(), &weightless.candidates()),
            None
        );
    }

    proptest! {
        #[test]
        fn no_other_text_is_a_token(
            text in proptest::collection::vec(any::<u8>(), 0..100),
            digits in "[0-9a-f]{80}",
        ) {
            prop_assert_eq!(found(&text), None);
            prop_assert_eq!(found(digits.as_bytes()), None);
        }

        #[test]
        fn a_token_has_one_spelling(mac in any::<[u8; MAC]>(), sealed in any::<u64>()) {
            let text = HEXLOWER.encode(&[&mac[..], &sealed.to_be_bytes()].concat());
            prop_assert_eq!(decode(text.as_bytes()), Some((mac, sealed)));
            prop_assert_eq!(decode(text.to_uppercase().as_bytes()), None);
        }
    }
}
