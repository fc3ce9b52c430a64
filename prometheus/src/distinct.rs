//! Things that several may hold, each of them once.

/// Things, and how many hold each.
#[derive(Debug)]
pub(crate) struct Distinct<T>(Vec<Held<T>>);

#[derive(Debug)]
struct Held<T> {
    thing: T,
    holders: usize,
}

impl<T> Distinct<T> {
    /// Adds a holder of the thing that is meant, which is made for the first.
    pub(crate) fn hold(&mut self, is_meant: impl Fn(&T) -> bool, make: impl FnOnce() -> T) {
        match self.0.iter_mut().find(|held| is_meant(&held.thing)) {
            Some(held) => held.holders += 1,
            None => self.0.push(Held {
                thing: make(),
                holders: 1,
            }),
        }
    }

    /// Removes a holder of the thing that is meant, and returns the thing if it was the last.
    pub(crate) fn release(&mut self, is_meant: impl Fn(&T) -> bool) -> Option<T> {
        let index = self.0.iter().position(|held| is_meant(&held.thing))?;
        let held = self.0.get_mut(index)?;
        held.holders -= 1;
        (held.holders == 0).then(|| self.0.remove(index).thing)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|held| &held.thing)
    }
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_stays_until_its_last_holder_releases_it() {
        let mut things = Distinct::default();
        let hold = |things: &mut Distinct<_>, thing| things.hold(|held| *held == thing, || thing);
        hold(&mut things, 'a');
        hold(&mut things, 'b');
        hold(&mut things, 'a');
        assert!(things.iter().eq(&['a', 'b']));
        assert_eq!(things.release(|held| *held == 'a'), None);
        assert!(things.iter().eq(&['a', 'b']));
        assert_eq!(things.release(|held| *held == 'a'), Some('a'));
        assert_eq!(things.release(|held| *held == 'a'), None);
        assert!(things.iter().eq(&['b']));
    }
}
