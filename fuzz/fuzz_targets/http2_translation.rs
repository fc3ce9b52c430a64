//! Handshakes and requests between HTTP/2 and HTTP/1.1, in both directions: no header of a connection
//! passes, the pseudo-headers are the client's target and host, and all else stays. The seeded property test
//! `property_parsers` checks the same cases.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "other targets need more of the kit")]
#[path = "../../tests/it/parsers_kit"]
mod parsers_kit {
    pub(crate) mod client_request;
    pub(crate) mod garble;
    pub(crate) mod handshake;
    pub(crate) mod http2_translation;
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

use parsers_kit::http2_translation::{Case, check};
use support::dice::Input;

fuzz_target!(|bytes: &[u8]| {
    check(&Case::draw(&mut Input(bytes)));
});
