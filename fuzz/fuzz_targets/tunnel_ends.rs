//! Whole tunnels as state machines: bytes, cuts, stalls, ends and resets of both legs, commands,
//! drains, drops and time in any order, with the invariants of an end checked after each step that
//! lets time pass. The seeded property test `property_ends` checks the same cases.
#![no_main]

use libfuzzer_sys::{
    arbitrary::{Arbitrary, Result, Unstructured},
    fuzz_target,
};

#[path = "../../tests/it/ends_kit/mod.rs"]
mod ends_kit;

#[allow(dead_code, reason = "other tests need more of the kit")]
#[path = "../../tests/it/support"]
mod support {
    pub(crate) mod clock;
    pub(crate) mod dice;
    #[path = "frames/build.rs"]
    pub(crate) mod frames;
    pub(crate) mod pipe;
    pub(crate) mod rng;
    pub(crate) mod sides;
}

impl Arbitrary<'_> for ends_kit::Plan {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Self> {
        let len = bytes.len();
        Ok(Self::from_bytes(bytes.bytes(len)?))
    }
}

fuzz_target!(|plan: ends_kit::Plan| {
    ends_kit::run(&plan);
});
