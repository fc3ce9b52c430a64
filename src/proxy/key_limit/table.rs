//! Table of the keys of a limit: their tunnels, and the rate of their handshakes. Pure: time is an
//! argument.
//!
//! The rate is a token bucket, of which one number is kept: the moment at which it is full again.
//! A full bucket is as good as none, so a key without tunnels is forgotten at that moment. If there
//! are too many keys before, those go first whose buckets are fullest: a flood of new keys, each of
//! which has a nearly full bucket, cannot displace a spent one.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

/// Number of forgettable keys that an admission removes: more than it can add.
const FORGOTTEN_AT_ONCE: usize = 4;

/// Smallest number of places for which the table shrinks.
const MIN_CAPACITY: usize = 1024;

/// Limits of one key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyLimits {
    pub(super) max_tunnels: Option<u32>,
    pub(super) rate: Option<HandshakeRate>,
}

/// Rate of the handshakes of one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct HandshakeRate {
    /// Time in which a spent bucket gains one handshake.
    pub(super) interval: Duration,
    /// Number of handshakes in a full bucket.
    pub(super) burst: u32,
}

/// Limit of a key that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    Tunnels,
    /// The rate, with the time after which another handshake is admitted.
    Handshakes(Duration),
}

/// Keys, by their hashes.
#[derive(Debug)]
pub(super) struct KeyTable {
    keys: HashMap<u64, KeyState>,
    /// Keys without tunnels, by the time at which their buckets are full.
    idle: BTreeSet<(u64, u64)>,
    /// Start of the table's time, which is counted in nanoseconds.
    epoch: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct KeyState {
    /// Time at which the bucket is full.
    full_at: u64,
    tunnels: u32,
}

impl KeyTable {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            keys: HashMap::new(),
            idle: BTreeSet::new(),
            epoch: now,
        }
    }

    /// Counts a handshake, and its tunnel until [`release`](Self::release).
    ///
    /// # Errors
    ///
    /// Returns the limit that was reached. Nothing is counted then.
    pub(super) fn admit(
        &mut self,
        key: u64,
        limits: &KeyLimits,
        now: Instant,
    ) -> Result<(), Reached> {
        let now = self.nanos(now);
        self.forget_full(now);
        let before = self.keys.get(&key).copied();
        let mut state = before.unwrap_or_default();
        if limits.max_tunnels.is_some_and(|max| state.tunnels >= max) {
            return Err(Reached::Tunnels);
        }
        if let Some(rate) = limits.rate {
            state.full_at = rate.take(state.full_at, now).map_err(Reached::Handshakes)?;
        }
        if let Some(before) = before.filter(|before| before.tunnels == 0) {
            self.idle.remove(&(before.full_at, key));
        }
        state.tunnels = state.tunnels.saturating_add(1);
        self.keys.insert(key, state);
        Ok(())
    }

    /// Ends a tunnel of this key. At most `max_idle` keys without tunnels are remembered.
    pub(super) fn release(&mut self, key: u64, max_idle: usize, now: Instant) {
        let now = self.nanos(now);
        let Some(state) = self.keys.get_mut(&key) else {
            return;
        };
        state.tunnels = state.tunnels.saturating_sub(1);
        if state.tunnels > 0 {
            return;
        }
        if state.full_at <= now {
            self.forget(key);
            return;
        }
        self.idle.insert((state.full_at, key));
        if self.idle.len() > max_idle {
            if let Some((_, fullest)) = self.idle.pop_first() {
                self.forget(fullest);
            }
        }
    }

    /// Returns the number of keys that are remembered.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Forgets some of the keys whose buckets are full.
    fn forget_full(&mut self, now: u64) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            match self.idle.first() {
                Some((full_at, _)) if *full_at <= now => {}
                _ => return,
            }
            if let Some((_, key)) = self.idle.pop_first() {
                self.forget(key);
            }
        }
    }

    fn forget(&mut self, key: u64) {
        self.keys.remove(&key);
        let len = self.keys.len();
        if self.keys.capacity() > (4 * len).max(MIN_CAPACITY) {
            self.keys.shrink_to(2 * len);
        }
    }

    fn nanos(&self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.epoch))
    }
}

impl HandshakeRate {
    /// Takes one handshake from a bucket, and returns the new time at which the bucket is full.
    fn take(self, full_at: u64, now: u64) -> Result<u64, Duration> {
        let interval = nanos(self.interval);
        let capacity = interval.saturating_mul(u64::from(self.burst));
        let full_at = full_at.max(now).saturating_add(interval);
        match (full_at - now).checked_sub(capacity) {
            None | Some(0) => Ok(full_at),
            Some(missing) => Err(Duration::from_nanos(missing)),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
