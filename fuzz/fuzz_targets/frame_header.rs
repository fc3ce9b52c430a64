//! A header reads as tungstenite reads it, and writes back the bytes it came from.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::frame::FrameHeader as OracleHeader;
use wsplice::frame::FrameHeader;

fuzz_target!(|bytes: &[u8]| {
    let ours = FrameHeader::parse(bytes);
    if let Ok(Some(header)) = ours {
        assert!(bytes.starts_with(&header.encode()));
    }

    // The oracle refuses reserved opcodes and lets illegal lengths pass.
    let mut cursor = Cursor::new(bytes);
    let (Ok(ours), Ok(oracle)) = (ours, OracleHeader::parse(&mut cursor)) else {
        return;
    };
    assert_eq!(ours.is_some(), oracle.is_some());
    let (Some(ours), Some((oracle, payload_len))) = (ours, oracle) else {
        return;
    };
    let rsv = u8::from(oracle.rsv1) << 2 | u8::from(oracle.rsv2) << 1 | u8::from(oracle.rsv3);
    assert_eq!(ours.fin(), oracle.is_final);
    assert_eq!(ours.rsv().bits(), rsv);
    assert_eq!(ours.opcode().bits(), u8::from(oracle.opcode));
    assert_eq!(ours.mask(), oracle.mask);
    assert_eq!(ours.payload_len(), payload_len);
    assert_eq!(u64::from(ours.header_len()), cursor.position());
});
