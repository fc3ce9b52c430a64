//! Tests of the table of keys.

use std::mem::size_of;

use proptest::prelude::*;

use super::*;

const IDLE: usize = 1000;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Two handshakes a second, five at once.
fn limits() -> KeyLimits {
    KeyLimits {
        max_tunnels: Some(3),
        rate: Some(HandshakeRate {
            interval: Duration::from_millis(500),
            burst: 5,
        }),
    }
}

/// A handshake whose tunnel ends at once.
fn visit(table: &mut KeyTable, key: u64, now: Instant) -> Result<(), Reached> {
    table.admit(key, &limits(), now)?;
    table.release(key, IDLE, now);
    Ok(())
}

/// Most memory of the table, in bytes: a hash table is filled to 7/16 at least and has a byte of its
/// own for each place, a B-tree to a half and has 12 pointers for 11 keys.
fn memory(table: &KeyTable) -> usize {
    let place = size_of::<(u64, KeyState)>() + 1;
    let places = table.keys.capacity() * 8 / 7 + 16;
    place * places + table.idle.len() * 2 * (size_of::<(u64, u64)>() + 12)
}

#[test]
fn tunnels_are_limited_until_they_end() {
    let now = Instant::now();
    let mut table = KeyTable::new(now);
    let later = now + secs(100);
    for _ in 0..3 {
        assert_eq!(table.admit(1, &limits(), now), Ok(()));
    }
    assert_eq!(table.admit(1, &limits(), later), Err(Reached::Tunnels));
    assert_eq!(table.admit(2, &limits(), later), Ok(()));
    table.release(1, IDLE, later);
    assert_eq!(table.admit(1, &limits(), later), Ok(()));
}

#[test]
fn handshakes_are_limited_to_a_burst_and_then_to_the_rate() {
    let now = Instant::now();
    let mut table = KeyTable::new(now);
    for _ in 0..5 {
        assert_eq!(visit(&mut table, 1, now), Ok(()));
    }
    let half = Duration::from_millis(500);
    let refused = Err(Reached::Handshakes(half));
    assert_eq!(visit(&mut table, 1, now), refused);
    assert_eq!(
        visit(&mut table, 1, now),
        refused,
        "a refusal costs nothing"
    );
    assert_eq!(visit(&mut table, 1, now + half), Ok(()));
    assert_eq!(visit(&mut table, 1, now + half), refused);
    for _ in 0..5 {
        assert_eq!(visit(&mut table, 1, now + secs(60)), Ok(()));
    }
}

#[test]
fn a_key_is_forgotten_once_its_bucket_is_full() {
    let now = Instant::now();
    let mut table = KeyTable::new(now);
    for key in 0..100 {
        visit(&mut table, key, now).unwrap();
    }
    assert_eq!(table.len(), 100);
    for round in 0..30 {
        visit(&mut table, 1000, now + secs(1 + round)).unwrap();
    }
    assert_eq!(table.len(), 1);
}

#[test]
fn without_a_rate_only_keys_with_tunnels_are_remembered() {
    let now = Instant::now();
    let mut table = KeyTable::new(now);
    let limits = KeyLimits {
        rate: None,
        ..limits()
    };
    for key in 0..100 {
        table.admit(key, &limits, now).unwrap();
    }
    for key in 0..99 {
        table.release(key, IDLE, now);
    }
    assert_eq!(table.len(), 1);
}

#[test]
fn a_flood_of_keys_neither_refills_a_spent_bucket_nor_forgets_a_tunnel() {
    let now = Instant::now();
    let mut table = KeyTable::new(now);
    for _ in 0..5 {
        visit(&mut table, 7, now).unwrap();
    }
    for _ in 0..3 {
        table.admit(8, &limits(), now).unwrap();
    }
    for key in 100..100_100 {
        visit(&mut table, key, now).unwrap();
    }
    assert!(matches!(
        visit(&mut table, 7, now),
        Err(Reached::Handshakes(_))
    ));
    assert_eq!(table.admit(8, &limits(), now), Err(Reached::Tunnels));
    assert_eq!(table.len(), IDLE + 1);
}

#[test]
fn a_million_keys_in_a_minute_stay_within_the_bound() {
    let start = Instant::now();
    let mut table = KeyTable::new(start);
    for key in 0..1_000_000_u64 {
        let now = start + Duration::from_micros(60 * key);
        visit(&mut table, key.wrapping_mul(0x9E37_79B9_7F4A_7C15), now).unwrap();
        assert!(
            memory(&table) <= 192 * IDLE.max(MIN_CAPACITY),
            "after {key}"
        );
    }
}

#[test]
fn the_table_shrinks_after_a_flood_of_tunnels() {
    let now = Instant::now();
    let mut table = KeyTable::new(now);
    for key in 0..100_000 {
        table.admit(key, &limits(), now).unwrap();
    }
    for key in 0..100_000 {
        table.release(key, IDLE, now);
    }
    assert_eq!(table.len(), IDLE);
    assert!(memory(&table) <= 192 * MIN_CAPACITY, "{}", memory(&table));
}

#[test]
fn a_greedy_key_takes_nothing_from_a_modest_one() {
    let start = Instant::now();
    let mut table = KeyTable::new(start);
    let (mut greedy, mut modest) = (0, 0);
    for millis in 0..60_000 {
        let now = start + Duration::from_millis(millis);
        greedy += u32::from(visit(&mut table, 1, now).is_ok());
        if millis % 1000 == 0 {
            modest += u32::from(visit(&mut table, 2, now).is_ok());
        }
    }
    assert_eq!(modest, 60);
    // The burst, and two a second.
    assert_eq!(greedy, 5 + 119);
}

/// One step of a run: a key, whether a tunnel of it ends, and the time until the next step.
fn steps() -> impl Strategy<Value = Vec<(u64, bool, u64)>> {
    prop::collection::vec((0..6_u64, any::<bool>(), 0..400_u64), 0..200)
}

proptest! {
    /// A table that forgets nothing admits the same, as long as no more keys are idle than may be.
    #[test]
    fn what_is_forgotten_would_have_been_admitted(steps in steps()) {
        let mut now = Instant::now();
        let mut table = KeyTable::new(now);
        let mut complete: HashMap<u64, KeyState> = HashMap::new();
        for (key, ends, millis) in steps {
            let state = complete.entry(key).or_default();
            if ends {
                if state.tunnels > 0 {
                    state.tunnels -= 1;
                    table.release(key, IDLE, now);
                }
            } else {
                let at = table.nanos(now);
                let limits = limits();
                let taken = limits.rate.unwrap().take(state.full_at, at);
                let expected = match taken {
                    _ if state.tunnels >= 3 => Err(Reached::Tunnels),
                    Ok(full_at) => {
                        *state = KeyState { full_at, tunnels: state.tunnels + 1 };
                        Ok(())
                    }
                    Err(after) => Err(Reached::Handshakes(after)),
                };
                prop_assert_eq!(table.admit(key, &limits, now), expected);
            }
            now += Duration::from_millis(millis);
        }
        let live = complete.values().filter(|state| state.tunnels > 0).count();
        prop_assert_eq!(table.len() - table.idle.len(), live);
    }
}
