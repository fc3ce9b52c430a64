//! Any `Cookie` lines: those alone name an upstream that hold a token which was minted for it. The seeded
//! property test `property_parsers` checks the same cases.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "other targets need more of the kit")]
#[path = "../../tests/it/parsers_kit"]
mod parsers_kit {
    pub(crate) mod sticky_cookie;
    pub(crate) mod strict;
}

#[allow(dead_code, reason = "other tests need more of the kit")]
#[path = "../../tests/it/support"]
mod support {
    pub(crate) mod dice;
    pub(crate) mod rng;
}

use parsers_kit::sticky_cookie::{Case, check};
use support::dice::Input;

fuzz_target!(|bytes: &[u8]| {
    check(&Case::draw(&mut Input(bytes)));
});
