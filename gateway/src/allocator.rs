//! Allocator of the program.

use mimalloc::MiMalloc;

/// A handshake allocates some 50 times, which costs a sixth of its instructions with glibc's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
