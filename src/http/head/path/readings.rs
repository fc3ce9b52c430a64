//! The readings of one path.

use std::borrow::Cow;

use super::scan::{PathClass, ambiguity};
use super::step::{Empties, Reach, Step, decode, hides_bytes, merge_slashes, resolve};

/// Limits on the states of a path, and on their bytes, beyond which the path is not evaluated. They
/// bound the cost of a hostile path; ordinary ones need a handful of states.
const MAX_STATES: usize = 64;
const MAX_BYTES: usize = 128 * 1024;

/// All readings of a path by the servers that may receive it.
#[derive(Debug, Clone)]
pub(crate) struct PathReadings<'a> {
    /// The reading with unmistakable escapes decoded, `//` merged and dot segments resolved; empty
    /// if the target has no path.
    primary: Cow<'a, str>,
    others: Others<'a>,
}

#[derive(Debug, Clone)]
enum Others<'a> {
    /// All readers get the primary reading.
    Clear,
    /// Some reader may get these readings, which all differ from the primary one.
    Also(Cow<'a, [String]>),
    /// The readings exceed the limits, or hidden bytes make them unpredictable.
    TooManyReadings,
}

impl<'a> PathReadings<'a> {
    /// Reads the path of a request target in its original bytes.
    ///
    /// A target without a leading `/` (`*`, or nothing in the authority form) has no path.
    pub(crate) fn new(raw: &'a str) -> Self {
        if !raw.starts_with('/') {
            return Self::single("");
        }
        let ambiguity = ambiguity(raw);
        if ambiguity == PathClass::Plain {
            return Self::single(raw);
        }
        let primary = primary_reading(raw);
        let others = match ambiguity {
            PathClass::Ambiguous => collect_readings(raw, &primary),
            PathClass::Clear | PathClass::Plain => Others::Clear,
        };
        Self { primary, others }
    }

    /// Wraps a path that is already one reading of another.
    pub(crate) fn single(reading: &'a str) -> Self {
        Self {
            primary: Cow::Borrowed(reading),
            others: Others::Clear,
        }
    }

    /// Returns the same readings, borrowed.
    pub(crate) fn borrowed(&self) -> PathReadings<'_> {
        PathReadings {
            primary: Cow::Borrowed(&self.primary),
            others: match &self.others {
                Others::Clear => Others::Clear,
                Others::Also(readings) => Others::Also(Cow::Borrowed(readings.as_ref())),
                Others::TooManyReadings => Others::TooManyReadings,
            },
        }
    }

    pub(crate) fn primary(&self) -> &str {
        &self.primary
    }

    /// Returns the readings besides the primary one; `None` if they are unknown.
    pub(crate) fn others(&self) -> Option<&[String]> {
        match &self.others {
            Others::Clear => Some(&[]),
            Others::Also(readings) => Some(readings.as_ref()),
            Others::TooManyReadings => None,
        }
    }
}

/// Returns the form in which text is compared: unmistakable escapes decoded, `//` merged.
pub(crate) fn comparable(text: &str) -> Cow<'_, str> {
    match decode(text, Reach::Unmistakable) {
        Cow::Borrowed(text) => merge_slashes(text),
        Cow::Owned(text) => Cow::Owned(merge_slashes(&text).into_owned()),
    }
}

fn primary_reading(raw: &str) -> Cow<'_, str> {
    match decode(raw, Reach::Unmistakable) {
        Cow::Borrowed(raw) => resolve(raw, Empties::Merge),
        Cow::Owned(decoded) => Cow::Owned(resolve(&decoded, Empties::Merge).into_owned()),
    }
}

/// Applies every step to the raw path, and to the results, until no new state appears.
///
/// The visited states are all results of any sequence of steps, so the number of hops, their steps
/// and the order do not matter.
fn collect_readings(raw: &str, primary: &str) -> Others<'static> {
    let mut states = vec![raw.to_owned()];
    let mut readings: Vec<String> = Vec::new();
    let mut bytes = 0;
    let mut visited = 0;
    while let Some(state) = states.get(visited) {
        if hides_bytes(state) {
            return Others::TooManyReadings;
        }
        let reading = comparable(state);
        if reading != primary && !readings.iter().any(|known| *known == reading) {
            readings.push(reading.into_owned());
        }
        let mut fresh: Vec<String> = Vec::new();
        for step in Step::ALL {
            let next = step.apply(state);
            if let Cow::Owned(next) = &next {
                bytes += next.len();
            }
            if !states.iter().chain(&fresh).any(|known| *known == next) {
                fresh.push(next.into_owned());
            }
        }
        states.append(&mut fresh);
        visited += 1;
        if states.len() > MAX_STATES || bytes > MAX_BYTES {
            return Others::TooManyReadings;
        }
    }
    if readings.is_empty() {
        Others::Clear
    } else {
        Others::Also(Cow::Owned(readings))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::EncodedSegments;
    use super::*;
    use crate::http::head::path::strategies::{tricky_path, wild_path};

    fn others(raw: &str) -> Vec<String> {
        let readings = PathReadings::new(raw);
        readings.others().expect("few readings").to_vec()
    }

    #[test]
    fn a_usual_path_is_its_own_reading_and_not_copied() {
        for raw in ["/", "/ws", "/ws/room/7/", "/a.b/..c"] {
            let readings = PathReadings::new(raw);
            assert!(matches!(readings.primary, Cow::Borrowed(path) if path == raw));
            assert!(matches!(readings.others, Others::Clear));
        }
    }

    #[test]
    fn ordinary_escapes_make_no_second_reading() {
        for raw in ["/%77s//x", "/caf%C3%A9", "/my%20file", "/a%2eb", "/caf%E9/"] {
            assert_eq!(others(raw), [""; 0], "{raw}");
        }
    }

    #[test]
    fn what_may_be_understood_is_listed() {
        assert_eq!(others("/a%2Fb"), ["/a/b"]);
        assert_eq!(others("/a/../b"), ["/a/../b"]);
        assert_eq!(others("/a;v=1/b"), ["/a/b"]);
        assert_eq!(others("/a\\b"), ["/a/b"]);
        assert_eq!(others("/a%5Cb"), ["/a\\b", "/a/b"]);
        assert_eq!(others("/a%3Fb"), ["/a"]);
        assert_eq!(others("/%2541"), ["/A"]);
        assert_eq!(others("/a%EF%BC%8Fb"), ["/a/b"]);
        assert!(others("/a%3Bb/%2541").contains(&"/a/%2541".to_owned()));
    }

    #[test]
    fn what_has_no_path_has_an_empty_one() {
        for raw in ["", "*", "x/y"] {
            let readings = PathReadings::new(raw);
            assert_eq!((readings.primary(), readings.others()), ("", Some(&[][..])));
        }
    }

    #[test]
    fn a_path_that_hides_bytes_or_is_a_maze_has_unknown_readings() {
        let maze = "/%25252e%5c;%3f%20".repeat(2000);
        for raw in [
            "/a%00",
            "/%2500",
            "/%u002e",
            "/%25U002f",
            "/%c0%ae%c0%ae/",
            "/%25c0%25ae/",
            &maze,
        ] {
            let readings = PathReadings::new(raw);
            assert_eq!(readings.others(), None, "{raw}");
            assert!(readings.primary().starts_with('/'));
        }
    }

    proptest! {
        #[test]
        fn reading_a_reading_changes_nothing(raw in tricky_path()) {
            let readings = PathReadings::new(&raw);
            let again = PathReadings::new(readings.primary());
            prop_assert_eq!(again.primary(), readings.primary());
        }

        #[test]
        fn the_primary_reading_is_clean(raw in tricky_path()) {
            let readings = PathReadings::new(&raw);
            let path = readings.primary();
            prop_assert!(path.starts_with('/') && !path.contains("//"));
            prop_assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")));
        }

        #[test]
        fn the_raw_view_and_the_primary_reading_agree(raw in tricky_path()) {
            let resolved = EncodedSegments::resolve(&raw).unwrap().to_path();
            let readings = PathReadings::new(&raw);
            prop_assert_eq!(comparable(&resolved), readings.primary());
        }

        #[test]
        fn a_path_that_is_held_to_be_clear_is(raw in tricky_path()) {
            if ambiguity(&raw) != PathClass::Ambiguous {
                let readings = PathReadings::new(&raw);
                prop_assert!(matches!(collect_readings(&raw, readings.primary()), Others::Clear));
            }
        }

        #[test]
        fn any_bytes_can_be_read(raw in wild_path()) {
            let readings = PathReadings::new(&raw);
            let _ = (readings.primary(), readings.others());
            let _ = EncodedSegments::resolve(&raw).map(|path| path.to_path());
        }
    }
}
