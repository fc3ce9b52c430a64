//! Payloads that look random and can be made again from their seed, and a checksum for those too
//! long to keep.

/// Marsaglia's xorshift64: the same numbers for the same seed, on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Xorshift(u64);

impl Xorshift {
    /// Any seed will do, zero too.
    pub(crate) fn new(seed: u64) -> Self {
        // An odd multiplier spreads small seeds; the state must not be zero.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// The next number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// The next `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// The payload that belongs to `seed`: `len` bytes.
pub(crate) fn payload(seed: u64, len: usize) -> Vec<u8> {
    Xorshift::new(seed).bytes(len)
}

/// FNV-1a over all bytes so far, with their count: order and length matter, cuts do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checksum {
    hash: u64,
    len: u64,
}

impl Checksum {
    /// The checksum of nothing.
    pub(crate) fn new() -> Self {
        Self {
            hash: 0xCBF2_9CE4_8422_2325,
            len: 0,
        }
    }

    /// The checksum of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut sum = Self::new();
        sum.update(bytes);
        sum
    }

    /// Takes in the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
        self.len += bytes.len() as u64;
    }
}
