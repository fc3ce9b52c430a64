//! Bytes that are nearly HTTP: messages of known parts, with lines added, removed, repeated and broken.

use crate::support::dice::Dice;

/// A message before it is written: its start line, its fields and its body.
pub(crate) struct Draft {
    pub(crate) start: Vec<u8>,
    pub(crate) lines: Vec<Vec<u8>>,
    pub(crate) body: Vec<u8>,
}

impl Draft {
    pub(crate) fn new(start: &str, lines: &[&str], body: &str) -> Self {
        Self {
            start: start.into(),
            lines: lines.iter().map(|line| line.as_bytes().to_vec()).collect(),
            body: body.into(),
        }
    }

    /// Adds up to two of these lines.
    pub(crate) fn with_lines(mut self, dice: &mut dyn Choose, more: &[&str]) -> Self {
        for _ in 0..dice.below(3) {
            let line = more[dice.below(more.len())].as_bytes().to_vec();
            self.lines.push(line);
        }
        self
    }

    /// Writes the message as it is.
    pub(crate) fn written(self) -> Vec<u8> {
        let mut bytes = self.start;
        for line in self.lines.into_iter().chain([Vec::new()]) {
            bytes.extend_from_slice(b"\r\n");
            bytes.extend_from_slice(&line);
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Writes the message with some of these lines, and some faults.
    pub(crate) fn garbled(mut self, dice: &mut dyn Choose, more: &[&str]) -> Vec<u8> {
        for _ in 0..dice.below(5) {
            match dice.below(6) {
                0 if !self.lines.is_empty() => {
                    self.lines.remove(dice.below(self.lines.len()));
                }
                1 if !self.lines.is_empty() => {
                    let line = self.lines[dice.below(self.lines.len())].clone();
                    self.lines.push(line);
                }
                _ => {
                    let at = dice.below(self.lines.len() + 1);
                    let line = more[dice.below(more.len())].as_bytes().to_vec();
                    self.lines.insert(at, line);
                }
            }
        }
        let odd_end = dice.below(12);
        let odd_line = dice.below(self.lines.len() + 2);
        let mut bytes = self.start;
        let lines = self.lines.into_iter().chain([Vec::new()]);
        bytes.extend_from_slice(end_of_line(odd_end, odd_line == 0));
        for (number, line) in lines.enumerate() {
            bytes.extend_from_slice(&line);
            bytes.extend_from_slice(end_of_line(odd_end, odd_line == number + 1));
        }
        bytes.extend_from_slice(&self.body);
        if dice.below(8) == 0 {
            let at = dice.below(bytes.len());
            bytes[at] = ODD_BYTES[dice.below(ODD_BYTES.len())];
        }
        bytes
    }
}

/// The part of [`Dice`] that can be a trait object.
pub(crate) trait Choose {
    fn below(&mut self, bound: usize) -> usize;
}

impl<D: Dice> Choose for D {
    fn below(&mut self, bound: usize) -> usize {
        Dice::below(self, bound)
    }
}

const ODD_BYTES: &[u8] = b"\0\t\n\r \"#%,:;=@\\\x7F\x80\xC3\xFF";

/// The end of a line; at most one line of a message has an odd one.
fn end_of_line(odd: usize, is_chosen: bool) -> &'static [u8] {
    match odd {
        0 if is_chosen => b"\n",
        1 if is_chosen => b"\r",
        2 if is_chosen => b"\r\n ",
        3 if is_chosen => b"\r\r\n",
        4 if is_chosen => b"\n\r\n",
        5 if is_chosen => b"\0\r\n",
        _ => b"\r\n",
    }
}

/// Places to cut bytes at, in order.
pub(crate) fn cuts(dice: &mut dyn Choose, len: usize) -> Vec<usize> {
    let mut cuts: Vec<_> = (0..dice.below(4)).map(|_| dice.below(len + 1)).collect();
    cuts.sort_unstable();
    cuts
}
