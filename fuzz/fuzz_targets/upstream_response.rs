//! Any bytes of an upstream in response to a handshake or to a forwarded request, whole and cut, beside a
//! strict model: what is accepted is a valid 101, no byte behind it is lost, and the client gets one
//! well-formed response, of which no byte becomes part of the next. The seeded property test
//! `property_parsers` checks the same cases.
#![no_main]

use libfuzzer_sys::fuzz_target;

include!("parsers.rs");

use parsers_kit::upstream_response::{self as to_handshake, forwarding};

fuzz_target!(|bytes: &[u8]| {
    // The first byte chooses the request, the second one the form of the case.
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    if first % 2 == 0 {
        let draw = |input: &mut support::dice::Input<'_>| to_handshake::Case::draw(input);
        if let Some(case) = bytes_or_drawn(rest, to_handshake::Case::of_bytes, draw) {
            to_handshake::check(&case);
        }
    } else {
        let draw = |input: &mut support::dice::Input<'_>| forwarding::Case::draw(input);
        if let Some(case) = bytes_or_drawn(rest, forwarding::Case::of_bytes, draw) {
            forwarding::check(&case);
        }
    }
});
