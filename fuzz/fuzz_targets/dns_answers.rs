//! Any records of a DNS server over time, beside a reading of RFC 2782. The seeded property test
//! `property_parsers` checks the same cases.
#![no_main]

use libfuzzer_sys::fuzz_target;

include!("parsers.rs");

use parsers_kit::dns_answers::{Case, check};
use support::dice::Input;

fuzz_target!(|bytes: &[u8]| {
    check(&Case::draw(&mut Input(bytes)));
});
