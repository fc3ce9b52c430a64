//! Any `X-Forwarded-*` and `Forwarded` lines, of trusted peers and others, beside a walk along the hops. The
//! seeded property test `property_parsers` checks the same cases.
#![no_main]

use libfuzzer_sys::fuzz_target;

include!("parsers.rs");

use parsers_kit::forwarded::{Case, check};
use support::dice::Input;

fuzz_target!(|bytes: &[u8]| {
    check(&Case::draw(&mut Input(bytes)));
});
