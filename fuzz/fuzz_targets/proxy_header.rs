//! The PROXY protocol: any first bytes of a connection, cut anywhere, beside a reader of whole headers; and
//! the headers that are sent to upstreams. The seeded property test `property_parsers` checks the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

include!("parsers.rs");

use parsers_kit::proxy_header::{Case, check};

fuzz_target!(|bytes: &[u8]| {
    if let Some(case) = bytes_or_drawn(bytes, Case::of_bytes, |input| Case::draw(input)) {
        check(&case);
    }
});
