use std::time::Duration;

use super::*;

fn header(opcode: OpCode, len: u64) -> FrameHeader {
    FrameHeader::new(opcode, len).unwrap()
}

fn meter(limits: Limits) -> (Meter, Instant) {
    let now = Instant::now();
    (Meter::new(limits, now), now)
}

/// Counts a frame if it is within all limits; the limit that it is over otherwise.
fn take(meter: &mut Meter, header: &FrameHeader, now: Instant) -> Result<(), Limit> {
    if let RateDecision::Over(limit, until) = meter.rate(header, now) {
        assert!(until > now);
        return Err(limit);
    }
    meter.take_size(header)?;
    meter.take_rate(header, now);
    Ok(())
}

#[test]
fn nothing_is_limited_unless_set() {
    let (mut meter, now) = meter(Limits::new());
    assert!(Limits::new().are_off());
    for _ in 0..10_000 {
        let huge = header(OpCode::BINARY, u64::MAX >> 1);
        assert_eq!(take(&mut meter, &huge, now), Ok(()));
    }
}

#[test]
fn every_single_limit_counts_as_on() {
    for limits in [
        Limits::new().frame_size(1),
        Limits::new().message_size(1),
        Limits::new().messages_per_second(1),
        Limits::new().bytes_per_second(1),
    ] {
        assert!(!limits.are_off(), "{limits:?}");
    }
}

#[test]
fn sizes_are_limited_at_the_byte() {
    let (mut meter, _) = meter(Limits::new().frame_size(100).message_size(150));
    let first = header(OpCode::TEXT, 100).unfinished();
    assert_eq!(meter.take_size(&first), Ok(()));
    assert_eq!(meter.take_size(&header(OpCode::PING, 99)), Ok(()));
    let over = header(OpCode::CONTINUATION, 101);
    assert_eq!(meter.take_size(&over), Err(Limit::FrameSize));
    let last = header(OpCode::CONTINUATION, 50);
    assert_eq!(meter.take_size(&last), Ok(()));
    // A new message starts from nothing.
    assert_eq!(meter.take_size(&first), Ok(()));
    let over = header(OpCode::CONTINUATION, 51);
    assert_eq!(meter.take_size(&over), Err(Limit::MessageSize));
}

#[test]
fn fragment_sizes_that_overflow_are_over_the_limit() {
    let (mut meter, _) = meter(Limits::new().message_size(u64::MAX >> 1));
    let huge = header(OpCode::BINARY, u64::MAX >> 1).unfinished();
    assert_eq!(meter.take_size(&huge), Ok(()));
    let more = header(OpCode::CONTINUATION, u64::MAX >> 1).unfinished();
    for _ in 0..3 {
        assert_eq!(meter.take_size(&more), Err(Limit::MessageSize));
    }
}

#[test]
fn a_bucket_holds_one_second_and_no_more() {
    let (mut meter, start) = meter(Limits::new().messages_per_second(10));
    let text = header(OpCode::TEXT, 1);
    let later = start + Duration::from_secs(3600);
    for now in [start, later] {
        for _ in 0..10 {
            assert_eq!(take(&mut meter, &text, now), Ok(()));
        }
        assert_eq!(take(&mut meter, &text, now), Err(Limit::MessageRate));
    }
    let soon = later + Duration::from_millis(99);
    assert_eq!(take(&mut meter, &text, soon), Err(Limit::MessageRate));
    let then = later + Duration::from_millis(201);
    assert_eq!(take(&mut meter, &text, then), Ok(()));
    assert_eq!(take(&mut meter, &text, then), Ok(()));
    assert_eq!(take(&mut meter, &text, then), Err(Limit::MessageRate));
}

#[test]
fn a_burst_can_be_larger_or_smaller_than_a_second() {
    let text = header(OpCode::TEXT, 98);
    for burst in [3, 30] {
        let limits = Limits::new().messages_per_second(10).message_burst(burst);
        let (mut meter, now) = meter(limits);
        for _ in 0..burst {
            assert_eq!(take(&mut meter, &text, now), Ok(()));
        }
        assert_eq!(take(&mut meter, &text, now), Err(Limit::MessageRate));
    }
    let (mut meter, now) = meter(Limits::new().bytes_per_second(10).byte_burst(200));
    assert_eq!(take(&mut meter, &text, now), Ok(()));
    assert_eq!(take(&mut meter, &text, now), Ok(()));
    assert_eq!(take(&mut meter, &text, now), Err(Limit::ByteRate));
}

#[test]
fn a_fragment_begins_no_message() {
    let (mut meter, now) = meter(Limits::new().messages_per_second(1));
    let first = header(OpCode::TEXT, 1).unfinished();
    assert_eq!(take(&mut meter, &first, now), Ok(()));
    let more = header(OpCode::CONTINUATION, 1);
    assert_eq!(take(&mut meter, &more, now), Ok(()));
    assert_eq!(take(&mut meter, &first, now), Err(Limit::MessageRate));
}

#[test]
fn to_look_at_the_rate_counts_nothing() {
    let (mut meter, now) = meter(Limits::new().messages_per_second(1).bytes_per_second(1));
    let text = header(OpCode::TEXT, 1);
    for _ in 0..10 {
        assert_eq!(meter.rate(&text, now), RateDecision::Within);
    }
    assert_eq!(take(&mut meter, &text, now), Ok(()));
    let RateDecision::Over(Limit::MessageRate, until) = meter.rate(&text, now) else {
        panic!("within");
    };
    assert_eq!(until, now + Duration::from_secs(1));
}

#[test]
fn a_rate_of_nothing_lets_nothing_pass() {
    let text = header(OpCode::TEXT, 0);
    let (mut messages, now) = meter(Limits::new().messages_per_second(0));
    assert_eq!(take(&mut messages, &text, now), Err(Limit::MessageRate));
    let (mut bytes, now) = meter(Limits::new().bytes_per_second(0));
    assert_eq!(take(&mut bytes, &text, now), Err(Limit::ByteRate));
}

#[test]
fn a_clock_that_stands_still_or_goes_back_adds_nothing() {
    let (mut meter, start) = meter(Limits::new().messages_per_second(1));
    let text = header(OpCode::TEXT, 0);
    let later = start + Duration::from_millis(1);
    assert_eq!(take(&mut meter, &text, later), Ok(()));
    for now in [later, start, later] {
        assert_eq!(take(&mut meter, &text, now), Err(Limit::MessageRate));
    }
}

#[test]
fn headers_count_as_bytes_and_a_debt_is_paid_before_the_next_frame() {
    let (mut meter, start) = meter(Limits::new().bytes_per_second(100));
    // 102 bytes on the wire: 2 too many, which 20 ms pay for.
    let frame = header(OpCode::BINARY, 100);
    assert_eq!(take(&mut meter, &frame, start), Ok(()));
    let now = start + Duration::from_millis(20);
    assert_eq!(take(&mut meter, &frame, now), Err(Limit::ByteRate));
    let now = start + Duration::from_millis(21);
    assert_eq!(take(&mut meter, &frame, now), Ok(()));
}

#[test]
fn time_in_which_a_side_could_not_send_is_made_up_for() {
    let (mut meter, start) = meter(Limits::new().messages_per_second(2));
    let text = header(OpCode::TEXT, 1);
    let now = start + Duration::from_secs(15);
    meter.credit_time(Duration::from_secs(15), now);
    for _ in 0..32 {
        assert_eq!(take(&mut meter, &text, now), Ok(()));
    }
    assert_eq!(take(&mut meter, &text, now), Err(Limit::MessageRate));
}
