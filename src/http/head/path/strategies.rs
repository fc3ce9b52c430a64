//! Paths for property tests.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const PIECES: &[&str] = &[
    "/",
    "/",
    "/",
    "//",
    "ws",
    "admin",
    "x",
    "a.b",
    ".",
    "..",
    "/../",
    "/./",
    "%2e",
    "%2E%2e",
    "%252e",
    "%252e%252e",
    "%2f",
    "%2F",
    "%252f",
    "\\",
    "%5c",
    "%255c",
    ";",
    ";v=1",
    "%3b",
    "%253b",
    "%3f",
    "%23",
    "%20",
    " ",
    "%25",
    "%",
    "%2",
    "%41",
    "%77",
    "%2577",
    "%c3%a9",
    "é",
    "%ff",
    "%0a",
    "+",
    "%ef%bc%8f",
    "\u{ff0e}",
    "%e2%80%a5",
    "%u002e",
    "%u002f",
];

/// Generates paths from the pieces of path confusion, each from a few kinds of pieces, because most
/// attacks repeat the same ones.
pub(crate) fn tricky_path() -> impl Strategy<Value = String> {
    vec(select(PIECES), 1..6)
        .prop_flat_map(|few| vec(select(few), 0..12))
        .prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// Generates such paths below `prefix`.
pub(crate) fn tricky_path_below(prefix: &'static str) -> impl Strategy<Value = String> {
    tricky_path().prop_map(move |path| format!("{prefix}{path}"))
}

/// Generates arbitrary text after a `/`.
pub(crate) fn wild_path() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        any::<String>().prop_map(|text| format!("/{text}")),
        "[/.%0-9a-f;\\\\]{0,64}"
    ]
}
