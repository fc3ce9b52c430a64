//! Any `X-Forwarded-*` and `Forwarded` lines, of trusted peers and others, beside a walk along the hops. The
//! seeded property test `property_parsers` checks the same cases.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "other targets need more of the kit")]
#[path = "../../tests/it/parsers_kit"]
mod parsers_kit {
    pub(crate) mod forwarded;
    pub(crate) mod strict;
}

#[allow(dead_code, reason = "other tests need more of the kit")]
#[path = "../../tests/it/support"]
mod support {
    pub(crate) mod dice;
    pub(crate) mod rng;
}

use parsers_kit::forwarded::{Case, check};
use support::dice::Input;

fuzz_target!(|bytes: &[u8]| {
    check(&Case::draw(&mut Input(bytes)));
});
