//! A control frame comes back from the wire, whatever its payload, reason and key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wsplice::frame::{CloseCode, ControlFrame, MAX_CONTROL_LEN};

fn round_trip(frame: ControlFrame, key: Option<[u8; 4]>) {
    let wire = frame.encode(key);
    assert_eq!(ControlFrame::parse(&wire), Ok(Some((frame, wire.len()))));
    assert_eq!(ControlFrame::parse(&wire[..wire.len() - 1]), Ok(None));
}

fuzz_target!(|input: (Option<[u8; 4]>, u16, &str, &[u8])| {
    let (key, code, reason, bytes) = input;

    let close = ControlFrame::close(CloseCode::new(code), reason);
    round_trip(close, key);
    if let Some(code) = close.close_code() {
        assert!(code.is_sendable());
        assert!(reason.starts_with(close.close_reason().expect("still UTF-8")));
    }

    if let Ok(Some((frame, len))) = ControlFrame::parse(bytes) {
        assert!(len <= bytes.len().min(MAX_CONTROL_LEN));
        round_trip(frame, key);
    }
});
