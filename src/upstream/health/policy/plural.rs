//! Numbers with their nouns, for messages.

/// Returns a number with its noun: `1 failure`, `3 failures`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        let shown = [0, 1, 2].map(|number| counted(number, "failure"));
        assert_eq!(shown, ["0 failures", "1 failure", "2 failures"]);
    }
}
