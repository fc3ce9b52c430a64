//! The readings of one path.

use std::borrow::Cow;

use super::scan::{Ambiguity, clarity};
use super::step::{Empties, Reach, Step, decode, hides_bytes, merge_slashes, resolve};

/// How many states of a path, and how many bytes of them, are looked at before the path is
/// held to be unsettled. They bound what a hostile path can cost; honest ones need a handful.
const MAX_STATES: usize = 64;
const MAX_BYTES: usize = 128 * 1024;

/// What a path may mean to those who will read it.
#[derive(Debug, Clone)]
pub(crate) struct PathReadings<'a> {
    /// Unmistakable escapes decoded, `//` merged, dot segments resolved; empty where the
    /// target has no path.
    primary: Cow<'a, str>,
    others: Others,
}

#[derive(Debug, Clone)]
enum Others {
    /// Everybody understands the primary reading.
    Clear,
    /// Somebody may also understand these, which all differ from the primary one.
    Also(Vec<String>),
    /// There is no telling.
    TooManyReadings,
}

impl<'a> PathReadings<'a> {
    /// Reads the path of a request target as it stands on the wire.
    ///
    /// What does not begin with `/` (`*`, or nothing in the authority form) is no path.
    pub(crate) fn of(raw: &'a str) -> Self {
        if !raw.starts_with('/') {
            return Self::settled("");
        }
        let clarity = clarity(raw);
        if clarity == Ambiguity::Plain {
            return Self::settled(raw);
        }
        let primary = primary_reading(raw);
        let others = match clarity {
            Ambiguity::Ambiguous => survey(raw, &primary),
            Ambiguity::Clear | Ambiguity::Plain => Others::Clear,
        };
        Self { primary, others }
    }

    /// A path that is already one reading of another.
    pub(crate) fn settled(reading: &'a str) -> Self {
        Self {
            primary: Cow::Borrowed(reading),
            others: Others::Clear,
        }
    }

    pub(crate) fn primary(&self) -> &str {
        &self.primary
    }

    /// The readings besides the primary one; `None` when they cannot be told.
    pub(crate) fn others(&self) -> Option<&[String]> {
        match &self.others {
            Others::Clear => Some(&[]),
            Others::Also(readings) => Some(readings),
            Others::TooManyReadings => None,
        }
    }
}

/// The form in which text is compared: unmistakable escapes decoded, `//` merged.
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

/// Takes every step from the raw path, and from what came of it, until nothing new comes.
///
/// The states that this visits are all that any sequence of steps can make of the path, so
/// it does not matter how many hops follow, what each of them does, and in which order.
fn survey(raw: &str, primary: &str) -> Others {
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
        Others::Also(readings)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::RawPath;
    use super::*;
    use crate::http::head::path::tricky::{tricky_path, wild_path};

    fn others(raw: &str) -> Vec<String> {
        let readings = PathReadings::of(raw);
        readings.others().expect("settled").to_vec()
    }

    #[test]
    fn a_usual_path_is_its_own_reading_and_not_copied() {
        for raw in ["/", "/ws", "/ws/room/7/", "/a.b/..c"] {
            let readings = PathReadings::of(raw);
            assert!(matches!(readings.primary, Cow::Borrowed(path) if path == raw));
            assert!(matches!(readings.others, Others::Clear));
        }
    }

    #[test]
    fn ordinary_escapes_make_no_second_reading() {
        for raw in [
            "/%77s//x",
            "/caf%C3%A9",
            "/my%20file",
            "/a%2eb",
            "/caf%E9/%0A",
        ] {
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
        assert!(others("/a%3Bb/%2541").contains(&"/a/%2541".to_owned()));
    }

    #[test]
    fn what_has_no_path_has_an_empty_one() {
        for raw in ["", "*", "x/y"] {
            let readings = PathReadings::of(raw);
            assert_eq!((readings.primary(), readings.others()), ("", Some(&[][..])));
        }
    }

    #[test]
    fn a_path_that_hides_bytes_or_is_a_maze_is_unsettled() {
        let maze = "/%25252e%5c;%3f%20".repeat(2000);
        for raw in ["/a%00", "/%2500", "/%c0%ae%c0%ae/", "/%25c0%25ae/", &maze] {
            let readings = PathReadings::of(raw);
            assert_eq!(readings.others(), None, "{raw}");
            assert!(readings.primary().starts_with('/'));
        }
    }

    proptest! {
        #[test]
        fn reading_a_reading_changes_nothing(raw in tricky_path()) {
            let readings = PathReadings::of(&raw);
            let again = PathReadings::of(readings.primary());
            prop_assert_eq!(again.primary(), readings.primary());
        }

        #[test]
        fn the_primary_reading_is_clean(raw in tricky_path()) {
            let readings = PathReadings::of(&raw);
            let path = readings.primary();
            prop_assert!(path.starts_with('/') && !path.contains("//"));
            prop_assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")));
        }

        #[test]
        fn the_raw_view_and_the_primary_reading_agree(raw in tricky_path()) {
            let resolved = RawPath::resolve(&raw).unwrap().to_path();
            let readings = PathReadings::of(&raw);
            prop_assert_eq!(comparable(&resolved), readings.primary());
        }

        #[test]
        fn a_path_that_is_held_to_be_clear_is(raw in tricky_path()) {
            if clarity(&raw) != Ambiguity::Ambiguous {
                let readings = PathReadings::of(&raw);
                prop_assert!(matches!(survey(&raw, readings.primary()), Others::Clear));
            }
        }

        #[test]
        fn any_bytes_can_be_read(raw in wild_path()) {
            let readings = PathReadings::of(&raw);
            let _ = (readings.primary(), readings.others());
            let _ = RawPath::resolve(&raw).map(|path| path.to_path());
        }
    }
}
