//! Any records of a DNS server over time, beside a reading of RFC 2782. The seeded property test
//! `property_parsers` checks the same cases.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "other targets need more of the kit")]
#[path = "../../tests/it/parsers_kit"]
mod parsers_kit {
    pub(crate) mod dns_answers;
}

#[allow(dead_code, reason = "other tests need more of the kit")]
#[path = "../../tests/it/support"]
mod support {
    pub(crate) mod clock;
    pub(crate) mod dice;
    pub(crate) mod rng;
}

use parsers_kit::dns_answers::{Case, check};
use support::dice::Input;

fuzz_target!(|bytes: &[u8]| {
    check(&Case::draw(&mut Input(bytes)));
});
