//! Any bytes of an upstream in response to a handshake, whole and cut, beside a strict model: what is
//! accepted is a valid 101, no byte behind it is lost, and the client gets one well-formed response. The
//! seeded property test `property_parsers` checks the same cases.
#![no_main]

use libfuzzer_sys::fuzz_target;

include!("parsers.rs");

use parsers_kit::upstream_response::{Case, check};

fuzz_target!(|bytes: &[u8]| {
    if let Some(case) = bytes_or_drawn(bytes, Case::of_bytes, |input| Case::draw(input)) {
        check(&case);
    }
});
