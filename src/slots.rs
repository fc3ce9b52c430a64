//! A table whose free slots are used again. Pure.

/// Table of values, each in a slot of its own, by which it is removed.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    /// Adds a value, and returns its slot.
    pub(crate) fn add(&mut self, value: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            if let Some(entry) = self.entries.get_mut(slot as usize) {
                *entry = Some(value);
            }
            return slot;
        }
        self.entries.push(Some(value));
        // A process has far fewer descriptors than this, and each value stands for one.
        u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
    }

    /// Removes the value in this slot.
    pub(crate) fn remove(&mut self, slot: u32) {
        let entry = self.entries.get_mut(slot as usize);
        if entry.and_then(Option::take).is_some() {
            self.free.push(slot);
        }
        if self.free.len() == self.entries.len() {
            *self = Self::default();
        }
    }

    /// Returns the value in this slot.
    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.entries.get(slot as usize)?.as_ref()
    }

    /// Returns the number of values.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().flatten()
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again_and_given_back_with_the_last_value() {
        let mut slots = Slots::default();
        assert_eq!([slots.add('a'), slots.add('b'), slots.add('c')], [0, 1, 2]);
        slots.remove(1);
        slots.remove(1);
        assert_eq!(slots.len(), 2);
        assert_eq!(slots.add('d'), 1);
        assert_eq!(slots.iter().collect::<String>(), "adc");
        for slot in 0..3 {
            slots.remove(slot);
        }
        assert_eq!((slots.len(), slots.entries.capacity()), (0, 0));
    }
}
