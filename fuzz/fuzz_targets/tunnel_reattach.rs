//! Tunnels through the layer as state machines: messages, cuts, stalls and ends of clients and of their
//! upstreams one after another, handshakes that are accepted, refused, late or broken, moves, drains
//! and time in any order, with the invariants of reattachment checked after each step that lets time
//! pass. The seeded property test `property_reattach` checks the same cases.
#![no_main]

use libfuzzer_sys::{
    arbitrary::{Arbitrary, Result, Unstructured},
    fuzz_target,
};

#[allow(dead_code, reason = "the seeded test reads the events")]
#[path = "../../tests/it/reattach_kit/mod.rs"]
mod reattach_kit;

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

impl Arbitrary<'_> for reattach_kit::Plan {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Self> {
        let len = bytes.len();
        Ok(Self::from_bytes(bytes.bytes(len)?))
    }
}

fuzz_target!(|plan: reattach_kit::Plan| {
    reattach_kit::run(&plan);
});
