//! The masking of a client's payload (RFC 6455 §5.3).

/// Bytes masked by one operation.
const WORD: usize = 8;

/// Masks `data` in place, or unmasks it: the operation is its own inverse.
///
/// `offset` is the position of `data[0]` within the frame's payload, in bytes, so that a payload
/// may be worked on piece by piece.
///
/// # Examples
///
/// ```
/// use wsplice::frame::mask;
///
/// let key = [0x37, 0xfa, 0x21, 0x3d];
/// let mut data = *b"Hello";
/// mask::apply(&mut data, key, 0);
/// assert_eq!(data, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
///
/// mask::apply(&mut data[..2], key, 0);
/// mask::apply(&mut data[2..], key, 2);
/// assert_eq!(data, *b"Hello");
/// ```
#[inline]
pub fn apply(data: &mut [u8], key: [u8; 4], offset: u64) {
    // Read little-endian, the key byte that comes first is the lowest.
    let key = u32::from_le_bytes(key).rotate_right((offset % 4) as u32 * 8);
    let word = u64::from(key) << 32 | u64::from(key);

    let mut chunks = data.chunks_exact_mut(WORD);
    for chunk in &mut chunks {
        if let Ok(bytes) = <&mut [u8; WORD]>::try_from(chunk) {
            *bytes = (u64::from_le_bytes(*bytes) ^ word).to_le_bytes();
        }
    }
    for (byte, key) in chunks
        .into_remainder()
        .iter_mut()
        .zip(key.to_le_bytes().iter().cycle())
    {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    #[test]
    fn each_byte_meets_key_byte_i_mod_4_rfc6455_5_3() {
        for len in 0..70_usize {
            for offset in 0..9_usize {
                let plain: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let mut masked = plain.clone();
                apply(&mut masked, KEY, offset as u64);
                for (i, (masked, plain)) in masked.iter().zip(&plain).enumerate() {
                    assert_eq!(
                        *masked,
                        plain ^ KEY[(offset + i) % 4],
                        "len {len}, offset {offset}"
                    );
                }
            }
        }
    }

    #[test]
    fn pieces_mask_like_the_whole() {
        let mut whole = [0xA5_u8; 67];
        apply(&mut whole, KEY, 0);
        for cut in 0..=67 {
            let mut pieces = [0xA5_u8; 67];
            let (head, tail) = pieces.split_at_mut(cut);
            apply(head, KEY, 0);
            apply(tail, KEY, cut as u64);
            assert_eq!(pieces, whole, "cut at {cut}");
        }
    }

    #[test]
    fn masking_twice_gives_the_payload_back_at_any_offset() {
        let mut data = *b"a payload far inside a frame";
        apply(&mut data, KEY, u64::MAX);
        apply(&mut data, KEY, u64::MAX);
        assert_eq!(&data, b"a payload far inside a frame");
    }
}
