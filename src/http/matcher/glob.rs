//! Patterns with a `*` in the middle.

/// Whether `A` and `a` are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Sensitive,
    Ignored,
}

/// A compiled pattern over bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(u8),
    /// One byte of a segment.
    InSegment,
    /// Any number of bytes of a segment.
    WithinSegment,
    /// Any number of bytes.
    Anything,
}

impl Case {
    pub(super) fn same_byte(self, a: u8, b: u8) -> bool {
        match self {
            Case::Sensitive => a == b,
            Case::Ignored => a.eq_ignore_ascii_case(&b),
        }
    }

    pub(super) fn same(self, a: &[u8], b: &[u8]) -> bool {
        match self {
            Case::Sensitive => a == b,
            Case::Ignored => a.eq_ignore_ascii_case(b),
        }
    }
}

impl Glob {
    /// Builds the pattern from the pieces between its `*`. A `*` at either end (where `pieces`
    /// begins or ends with an empty piece) matches anything; one between two pieces matches a
    /// non-empty part of a segment.
    pub(super) fn new<'p>(pieces: impl IntoIterator<Item = &'p str>) -> Self {
        let mut tokens = Vec::new();
        let mut pieces = pieces.into_iter().enumerate().peekable();
        while let Some((index, piece)) = pieces.next() {
            let is_last = pieces.peek().is_none();
            match (index, piece.is_empty()) {
                (0, _) => {}
                (1, _) if tokens.is_empty() => tokens.push(Token::Anything),
                (_, true) if is_last => tokens.push(Token::Anything),
                _ => tokens.extend([Token::InSegment, Token::WithinSegment]),
            }
            tokens.extend(piece.bytes().map(Token::Literal));
        }
        Self { tokens }
    }

    /// Returns whether all of `text` matches, in time of the order of text times pattern for any
    /// text.
    pub(super) fn matches(&self, text: &str, case: Case) -> bool {
        // reached[i]: the text so far matches the first i tokens.
        let mut reached = vec![false; self.tokens.len() + 1];
        let mut next = reached.clone();
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        self.pass_over_stars(&mut reached);
        for byte in text.bytes() {
            next.fill(false);
            for (index, token) in self.tokens.iter().enumerate().filter(|(i, _)| reached[*i]) {
                match token {
                    Token::Literal(wanted) => next[index + 1] |= case.same_byte(byte, *wanted),
                    Token::InSegment => next[index + 1] |= byte != b'/',
                    Token::WithinSegment => next[index] |= byte != b'/',
                    Token::Anything => next[index] = true,
                }
            }
            self.pass_over_stars(&mut next);
            std::mem::swap(&mut reached, &mut next);
        }
        reached.last() == Some(&true)
    }

    fn pass_over_stars(&self, reached: &mut [bool]) {
        for (index, token) in self.tokens.iter().enumerate() {
            if matches!(token, Token::WithinSegment | Token::Anything) {
                reached[index + 1] |= reached[index];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reference implementation by backtracking. `pattern` is the unmatched rest.
    fn fits(pattern: &[u8], text: &[u8], at_start: bool) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => {
                let anything = at_start || rest.is_empty();
                let within = |length: &usize| anything || !text[..*length].contains(&b'/');
                let from = usize::from(!anything);
                (from..=text.len())
                    .filter(within)
                    .any(|length| fits(rest, &text[length..], false))
            }
            [byte, rest @ ..] => text.first() == Some(byte) && fits(rest, &text[1..], false),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_pattern_matches_as_the_reference_does(
            pieces in proptest::collection::vec("[ab/]{1,3}", 1..4),
            ends in any::<(bool, bool)>(),
            text in "[ab/]{0,10}",
        ) {
            let star = |there| if there { "*" } else { "" };
            let pattern = format!("{}{}{}", star(ends.0), pieces.join("*"), star(ends.1));
            let glob = Glob::new(pattern.split('*'));
            let wanted = fits(pattern.as_bytes(), text.as_bytes(), true);
            prop_assert_eq!(glob.matches(&text, Case::Sensitive), wanted, "{}", pattern);
        }
    }
}
