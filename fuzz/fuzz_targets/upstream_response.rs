//! Any bytes of an upstream in response to a handshake, whole and cut, beside a strict model: what is
//! accepted is a valid 101, no byte behind it is lost, and the client gets one well-formed response. The
//! seeded property test `property_parsers` checks the same cases.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "other targets need more of the kit")]
#[path = "../../tests/it/parsers_kit"]
mod parsers_kit {
    pub(crate) mod garble;
    pub(crate) mod handshake;
    pub(crate) mod stage;
    pub(crate) mod strict;
    pub(crate) mod upstream_response;
}

#[allow(dead_code, reason = "other tests need more of the kit")]
#[path = "../../tests/it/support"]
mod support {
    pub(crate) mod clock;
    pub(crate) mod dice;
    pub(crate) mod pipe;
    pub(crate) mod rng;
}

use parsers_kit::upstream_response::{Case, check};
use support::dice::Input;

// The first byte chooses between bytes as they are and bytes drawn from known parts.
fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    check(&match first % 2 {
        0 => Case::of_bytes(rest),
        _ => Case::draw(&mut Input(rest)),
    });
});
