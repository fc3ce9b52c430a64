//! Any bytes of a client, through hyper's server and the layer, beside httparse and a strict model: no
//! upstream sees a request that the model does not see. The seeded property test `property_parsers`
//! checks the same cases.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "other targets need more of the kit")]
#[path = "../../tests/it/parsers_kit"]
mod parsers_kit {
    pub(crate) mod client_request;
    pub(crate) mod garble;
    pub(crate) mod handshake;
    pub(crate) mod stage;
    pub(crate) mod strict;
}

#[allow(dead_code, reason = "other tests need more of the kit")]
#[path = "../../tests/it/support"]
mod support {
    pub(crate) mod clock;
    pub(crate) mod dice;
    pub(crate) mod pipe;
    pub(crate) mod rng;
}

use parsers_kit::client_request::{Case, check};
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
