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
mod tests;
