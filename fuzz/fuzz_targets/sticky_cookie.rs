//! Any `Cookie` lines: those alone name an upstream that hold a token which was minted for it. The seeded
//! property test `property_parsers` checks the same cases.
#![no_main]

use libfuzzer_sys::fuzz_target;

include!("parsers.rs");

use parsers_kit::sticky_cookie::{Case, check};
use support::dice::Input;

fuzz_target!(|bytes: &[u8]| {
    check(&Case::draw(&mut Input(bytes)));
});
