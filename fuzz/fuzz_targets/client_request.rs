//! Any bytes of a client, through hyper's server and the layer, beside httparse and a strict model: no
//! upstream sees a request that the model does not see. The seeded property test `property_parsers`
//! checks the same cases.
#![no_main]

use libfuzzer_sys::fuzz_target;

include!("parsers.rs");

use parsers_kit::client_request::{Case, check};

fuzz_target!(|bytes: &[u8]| {
    if let Some(case) = bytes_or_drawn(bytes, Case::of_bytes, |input| Case::draw(input)) {
        check(&case);
    }
});
