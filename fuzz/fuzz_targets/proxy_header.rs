//! The PROXY protocol: any first bytes of a connection, cut anywhere, beside a reader of whole headers; and
//! the headers that are sent to upstreams. The seeded property test `property_parsers` checks the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "other targets need more of the kit")]
#[path = "../../tests/it/parsers_kit"]
mod parsers_kit {
    pub(crate) mod garble;
    pub(crate) mod proxy_header;
    pub(crate) mod stage;
}

#[allow(dead_code, reason = "other tests need more of the kit")]
#[path = "../../tests/it/support"]
mod support {
    pub(crate) mod clock;
    pub(crate) mod dice;
    pub(crate) mod pipe;
    pub(crate) mod rng;
}

use parsers_kit::proxy_header::{Case, check};
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
