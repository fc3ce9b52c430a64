//! Turns of the upstreams of a list, by virtual deadlines. Pure.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use super::candidate_list::NameKey;

/// Virtual time in which each upstream has as many turns as its weight: a lap.
const LAP: u128 = 1 << 64;

/// Virtual time at the start, so that times before it are not negative.
const START: u128 = 4 * LAP;

/// Number of turns that upstreams with a part of their share may pass over for one pick, before a pick
/// looks no further at them.
const MAX_PARTS: usize = 64;

/// Order in which the upstreams of a list have their turns, each as often as its weight.
///
/// The turns of an upstream divide the lap into equal windows: a turn is released when its window
/// begins, and its deadline is the end of the window. Of the turns that are released, the one with the
/// earliest deadline is the next, as in worst-case fair weighted fair queueing. Every window of a lap lies
/// within the lap, so that each lap has exactly the turns of its weights. A turn takes O(log n).
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Upstreams by their place in the list.
    rotation: Vec<Turn>,
    /// Turns whose time has come, by their deadline.
    released: BinaryHeap<Reverse<(u128, usize)>>,
    /// The other turns, by their release.
    upcoming: BinaryHeap<Reverse<(u128, usize)>>,
    clock: VirtualClock,
}

/// Next turn of one upstream.
#[derive(Clone, Copy, Debug)]
struct Turn {
    key: NameKey,
    /// Start of the lap.
    lap: u128,
    /// Number of turns of this lap before this one.
    taken: u32,
    release: u128,
    deadline: u128,
    /// Sum of the parts of its share that it has not used yet.
    credit: f64,
}

/// Clock that moves on by one lap in as many ticks as the sum of the weights.
#[derive(Debug, Default)]
struct VirtualClock {
    base: u128,
    ticks: u64,
    total: u64,
}

/// Whether an upstream takes its turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Use {
    Takes,
    /// It takes only this part of its turns, from 0 to 1.
    TakesPart(f64),
    /// It cannot be picked now.
    PassesOver,
    /// Another upstream is at this place.
    IsAnother,
}

/// The list is another one.
#[derive(Debug)]
pub(super) struct Outdated;

impl Turns {
    /// Creates the turns of a list. Before the first pick, [`take_over`](Self::take_over) those of
    /// earlier lists, and [`begin`](Self::begin).
    pub(super) fn new(list: &[NameKey]) -> Self {
        Self {
            rotation: list.iter().map(|key| Turn::new(*key, START)).collect(),
            clock: VirtualClock {
                base: START,
                ticks: 0,
                total: list.iter().map(|key| u64::from(key.weight)).sum(),
            },
            ..Self::default()
        }
    }

    /// Takes over the places of upstreams that are in an earlier list, too; returns whether there are
    /// any.
    pub(super) fn take_over(&mut self, earlier: &Self) -> bool {
        let now = earlier.clock.now();
        let hashes = self.rotation.iter().map(|turn| turn.key.hash);
        let places: HashMap<_, _> = hashes.zip(0..).collect();
        let mut has_any = false;
        for turn in &earlier.rotation {
            let place: Option<&usize> = places.get(&turn.key.hash);
            if let Some(new) = place.and_then(|place| self.rotation.get_mut(*place)) {
                new.take_over(turn, now);
                has_any = true;
            }
        }
        has_any
    }

    /// Begins the first turn of each upstream.
    pub(super) fn begin(&mut self) {
        for place in 0..self.rotation.len() {
            self.enqueue(place);
        }
    }

    /// Returns the place of the next upstream that takes its turn; `None` if none can be picked.
    ///
    /// A pick looks once at those that cannot be picked, and they keep their place.
    pub(super) fn next(
        &mut self,
        mut look: impl FnMut(usize, &NameKey) -> Use,
    ) -> Result<Option<usize>, Outdated> {
        let mut aside = Vec::new();
        let (mut parts, mut best) = (0, None);
        let taken = loop {
            let Some(place) = self.pop() else { break None };
            let Some(turn) = self.rotation.get_mut(place) else {
                continue;
            };
            match look(place, &turn.key) {
                Use::IsAnother => return Err(Outdated),
                Use::Takes => break Some(place),
                Use::PassesOver => aside.push(place),
                Use::TakesPart(share) => {
                    turn.credit += share;
                    if turn.credit >= 1.0 {
                        turn.credit -= 1.0;
                        break Some(place);
                    }
                    let credit = turn.credit;
                    parts += 1;
                    if parts <= MAX_PARTS {
                        self.end_turn(place);
                        continue;
                    }
                    if best.is_none_or(|(most, _)| credit > most) {
                        best = Some((credit, place));
                    }
                    aside.push(place);
                }
            }
        };
        if taken.is_none() {
            if let Some(turn) = best.and_then(|(_, place)| self.rotation.get_mut(place)) {
                turn.credit = 0.0;
            }
        }
        let taken = taken.or(best.map(|(_, place)| place));
        for place in aside.into_iter().filter(|place| Some(*place) != taken) {
            self.pass_over(place);
        }
        if let Some(place) = taken {
            self.end_turn(place);
        }
        Ok(taken)
    }

    /// Ends the turn of an upstream that cannot be picked.
    fn pass_over(&mut self, place: usize) {
        if let Some(turn) = self.rotation.get_mut(place) {
            turn.lose_missed(self.clock.now());
        }
        self.end_turn(place);
    }

    /// Ends a turn, taken or not.
    fn end_turn(&mut self, place: usize) {
        self.clock.tick();
        if let Some(turn) = self.rotation.get_mut(place) {
            turn.advance();
        }
        self.enqueue(place);
    }

    fn enqueue(&mut self, place: usize) {
        let Some(turn) = self.rotation.get(place) else {
            return;
        };
        // Without weight there are no turns.
        if turn.key.weight > 0 {
            self.upcoming.push(Reverse((turn.release, place)));
        }
    }

    /// Removes the next turn.
    fn pop(&mut self) -> Option<usize> {
        if self.released.is_empty() {
            let Reverse((release, _)) = self.upcoming.peek()?;
            self.clock.jump_to(*release);
        }
        while let Some(Reverse((release, place))) = self.upcoming.peek().copied() {
            if release > self.clock.now() {
                break;
            }
            self.upcoming.pop();
            let turn = self.rotation.get(place)?;
            self.released.push(Reverse((turn.deadline, place)));
        }
        self.released.pop().map(|Reverse((_, place))| place)
    }
}

impl Turn {
    /// Returns the first turn of an upstream that joins at this time.
    fn new(key: NameKey, now: u128) -> Self {
        Self {
            key,
            lap: now,
            taken: 0,
            release: now,
            deadline: now + end_of(0, key.weight),
            credit: 0.0,
        }
    }

    /// Becomes the turn of the same upstream in another list, whose time is `now`.
    fn take_over(&mut self, earlier: &Self, now: u128) {
        let moved = |at: u128| (START + at).saturating_sub(now);
        self.credit = earlier.credit;
        self.release = moved(earlier.release);
        if earlier.key.weight == self.key.weight {
            self.lap = moved(earlier.lap);
            self.taken = earlier.taken;
        } else {
            self.lap = self.release;
        }
        self.deadline = self.lap + end_of(self.taken, self.key.weight);
    }

    /// Moves on to the turn after this one.
    fn advance(&mut self) {
        self.release = self.deadline;
        self.taken += 1;
        if self.taken >= self.key.weight {
            self.lap += LAP;
            self.taken = 0;
        }
        self.deadline = self.lap + end_of(self.taken, self.key.weight);
    }

    /// Replaces a turn that should have been over for as long as a turn lasts by a first one, so that the
    /// upstream does not make up for the turns in which it could not be picked.
    fn lose_missed(&mut self, now: u128) {
        if self.deadline + stride(self.key.weight) < now {
            *self = Self {
                credit: self.credit,
                ..Self::new(self.key, now)
            };
        }
    }
}

/// Returns the end of this of so many equal windows of a lap.
///
/// The time is rounded down from the exact fraction of the lap, so that errors do not add up: the order
/// of any two times is that of the exact fractions, and equal ones are equal.
const fn end_of(window: u32, windows: u32) -> u128 {
    match windows {
        0 => LAP,
        _ => (window as u128 + 1) * LAP / windows as u128,
    }
}

/// Returns the time between two turns of an upstream.
const fn stride(weight: u32) -> u128 {
    match weight {
        0 => LAP,
        _ => LAP / weight as u128,
    }
}

impl VirtualClock {
    fn now(&self) -> u128 {
        self.base + u128::from(self.ticks) * LAP / u128::from(self.total.max(1))
    }

    fn tick(&mut self) {
        self.ticks += 1;
        if self.ticks >= self.total {
            self.base += LAP;
            self.ticks = 0;
        }
    }

    fn jump_to(&mut self, at: u128) {
        if self.now() < at {
            self.base = at;
            self.ticks = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(weights: &[u32]) -> Vec<NameKey> {
        let keys = (0..).zip(weights);
        keys.map(|(hash, weight)| NameKey {
            hash,
            weight: *weight,
        })
        .collect()
    }

    fn turns(weights: &[u32]) -> Turns {
        let mut turns = Turns::new(&keys(weights));
        turns.begin();
        turns
    }

    fn take(turns: &mut Turns) -> usize {
        turns.next(|_, _| Use::Takes).unwrap().unwrap()
    }

    #[test]
    fn a_pick_does_not_look_at_all_upstreams() {
        for (unusable, most) in [(0, 1), (5, 2), (9, 10)] {
            let mut turns = turns(&[3; 10_000]);
            let mut looks = 0;
            for _ in 0..30_000 {
                let picked = turns.next(|place, _| {
                    looks += 1;
                    match place % 10 < unusable {
                        true => Use::PassesOver,
                        false => Use::Takes,
                    }
                });
                assert!(picked.unwrap().unwrap() % 10 >= unusable);
            }
            assert!(looks <= 30_000 * most + 10_000, "{looks} with {unusable}");
        }
    }

    #[test]
    fn a_heavy_upstream_that_cannot_be_picked_is_looked_at_once_for_each_pick() {
        let mut turns = turns(&[1_000_000, 1, 1]);
        let mut looks = 0;
        for pick in 0..100 {
            let picked = turns.next(|place, _| {
                looks += 1;
                match place {
                    0 => Use::PassesOver,
                    _ => Use::Takes,
                }
            });
            assert_eq!(picked.unwrap(), Some(1 + pick % 2));
        }
        assert!(looks <= 200);
        // The turns that it has missed are not made up for.
        assert!((0..3).any(|_| take(&mut turns) == 0));
        let picks = (0..1_000_000).map(|_| take(&mut turns));
        assert!(picks.filter(|place| *place > 0).count() >= 1);
    }

    #[test]
    fn a_part_of_the_share_is_as_if_the_weight_were_less() {
        let mut turns = turns(&[3, 1, 4]);
        let parts = [0.5, 1.0, 0.25];
        let mut picks = [0; 3];
        for _ in 0..7_000 {
            let picked = turns.next(|place, _| match parts[place] {
                1.0 => Use::Takes,
                part => Use::TakesPart(part),
            });
            picks[picked.unwrap().unwrap()] += 1;
        }
        assert_eq!(picks.map(|count| count / 10), [300, 200, 200]);
    }

    #[test]
    fn next_to_no_share_is_used_only_if_there_is_no_other() {
        let mut turns = turns(&[1000, 1]);
        let mut picks = |part_of_light: Use| {
            let mut picks = [0; 2];
            for _ in 0..100 {
                let look = |place, _: &NameKey| match place {
                    0 => Use::TakesPart(1e-9),
                    _ => part_of_light,
                };
                picks[turns.next(look).unwrap().unwrap()] += 1;
            }
            picks
        };
        assert_eq!(picks(Use::Takes), [0, 100]);
        assert_eq!(picks(Use::PassesOver), [100, 0]);
        assert!(picks(Use::TakesPart(1e-9))[0] > 90);
    }

    #[test]
    fn without_weight_there_are_no_turns() {
        assert_eq!(turns(&[0, 0]).next(|_, _| Use::Takes).unwrap(), None);
        assert_eq!(turns(&[]).next(|_, _| Use::Takes).unwrap(), None);
        let mut turns = turns(&[0, 1]);
        assert_eq!([take(&mut turns), take(&mut turns)], [1, 1]);
    }

    proptest! {
        /// The picks of an upstream are never more than one ahead of its share or behind it.
        #[test]
        fn at_any_time_each_has_its_share(
            weights in proptest::collection::vec(0..30_u32, 1..20),
        ) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let mut turns = turns(&weights);
            let mut picks = vec![0_u32; weights.len()];
            for time in 1..=2 * total {
                picks[take(&mut turns)] += 1;
                for (picked, weight) in picks.iter().zip(&weights) {
                    let (due, had) = (time * weight, picked * total);
                    prop_assert!(
                        due.abs_diff(had) <= total,
                        "{picked} of {due}/{total} after {time} of {weights:?}"
                    );
                }
            }
        }

        /// Whichever upstreams can be picked from time to time, the others share by weight.
        ///
        /// At each change an upstream may be a turn ahead of its share, or three behind it before its turns
        /// are lost, and all that can be picked share the sum of these differences by weight.
        #[test]
        fn those_that_can_be_picked_share_by_weight(
            weights in proptest::collection::vec(1..20_u32, 2..12),
            changes in proptest::collection::vec(any::<u16>(), 1..6),
        ) {
            const LAPS: u32 = 30;
            let mut turns = turns(&weights);
            for usable in changes {
                let is_usable = |place: usize| usable >> place & 1 == 1;
                let of_usable = (0..weights.len()).filter(|place| is_usable(*place));
                let total: u32 = of_usable.clone().map(|place| weights[place]).sum();
                let mut picks = vec![0_u32; weights.len()];
                for _ in 0..LAPS * total {
                    let picked = turns.next(|place, _| match is_usable(place) {
                        true => Use::Takes,
                        false => Use::PassesOver,
                    });
                    picks[picked.unwrap().unwrap()] += 1;
                }
                let usable = of_usable.clone().count() as u32;
                for place in of_usable {
                    let (picked, weight) = (picks[place], weights[place]);
                    let most = 4 + 4 * usable * weight / total;
                    prop_assert!(
                        picked.abs_diff(LAPS * weight) <= most,
                        "{place}: {picked}, not {} by {most}", LAPS * weight
                    );
                }
            }
        }
    }
}
