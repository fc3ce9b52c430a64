//! Numbers of tunnels, which are unique in the process.

use std::{
    hash::{BuildHasher, DefaultHasher, Hasher},
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

/// Size of the blocks that registries take their numbers in, so that the numbers of one registry are
/// consecutive for a long time, and the same in every run of a simulation.
const BLOCK: u64 = 1 << 16;

/// Number of blocks that were taken.
static BLOCKS: AtomicU64 = AtomicU64::new(0);

/// Numbers of one registry. Zero is not among them.
pub(super) struct Ids {
    first: u64,
    free: Range<u64>,
}

/// Hash of numbers by their distance to the first: the same in every run, whatever other registries
/// there are, so that a simulation can be repeated. The numbers are our own: no peer can choose them
/// to collide.
#[derive(Clone, Copy)]
pub(super) struct FromFirst(pub(super) u64);

/// Hasher of [`FromFirst`].
pub(super) struct DistanceHasher {
    first: u64,
    hasher: DefaultHasher,
}

impl Ids {
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn next(&mut self) -> u64 {
        loop {
            match self.free.next() {
                Some(id) => return id,
                None => self.free = block(),
            }
        }
    }
}

impl Default for Ids {
    fn default() -> Self {
        let free = block();
        Self {
            first: free.start,
            free,
        }
    }
}

fn block() -> Range<u64> {
    let start = BLOCKS.fetch_add(1, Ordering::Relaxed) * BLOCK + 1;
    start..start + BLOCK
}

impl BuildHasher for FromFirst {
    type Hasher = DistanceHasher;

    fn build_hasher(&self) -> DistanceHasher {
        DistanceHasher {
            first: self.0,
            hasher: DefaultHasher::new(),
        }
    }
}

impl Hasher for DistanceHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }

    fn write_u64(&mut self, id: u64) {
        self.hasher.write_u64(id.wrapping_sub(self.first));
    }

    fn finish(&self) -> u64 {
        self.hasher.finish()
    }
}
