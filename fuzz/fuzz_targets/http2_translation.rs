//! Handshakes and requests between HTTP/2 and HTTP/1.1, in both directions: no header of a connection
//! passes, the pseudo-headers are the client's target and host, and all else stays. The seeded property test
//! `property_parsers` checks the same cases.
#![no_main]

use libfuzzer_sys::fuzz_target;

include!("parsers.rs");

use parsers_kit::http2_translation::{Case, check};
use support::dice::Input;

fuzz_target!(|bytes: &[u8]| {
    check(&Case::draw(&mut Input(bytes)));
});
