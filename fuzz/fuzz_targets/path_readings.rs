//! A path that is owned lies there for every upstream, whatever the programs on its way do to it; one that
//! is left out is left out for all; and a rewritten path lies below the prefix that was added. The seeded
//! property tests of `src/http/matcher/ownership/tests.rs` and `src/http/head/rewrite/tests.rs` check the
//! same.
#![no_main]

use http::{Request, Uri};
use libfuzzer_sys::fuzz_target;
use wsplice::{
    head::{PathRewrite, RequestHead},
    matcher::{may_match, not, owns, path},
};

#[path = "../../src/http/matcher/ownership/tests/hops.rs"]
mod hops;

use hops::{HOPS, merge, percent_decode};

/// Pieces of paths on which programs disagree. A byte of the input is one of them, or itself.
const PIECES: [&str; 40] = [
    "/",
    "/",
    "//",
    "..",
    "/../",
    ".",
    "/./",
    "ws",
    "/ws/",
    "admin",
    "/admin/",
    "x",
    "%2e",
    "%2E%2e",
    "%2f",
    "%2F",
    "\\",
    "%5c",
    ";",
    ";v=1",
    "%3b",
    "%25",
    "%252e",
    "%252f",
    "%20",
    "+",
    ". ",
    "%3f",
    "%23",
    "%77s",
    "%61dmin",
    "%c0%ae",
    "%00",
    "%u002e",
    "%EF%BC%8E",
    "%EF%BC%8F",
    "%E2%80%A5",
    "\u{ff0f}",
    "%zz",
    "%",
];

fn drawn(bytes: &[u8]) -> String {
    let mut path = String::from("/");
    for byte in bytes {
        match PIECES.get(usize::from(*byte)) {
            Some(piece) => path.push_str(piece),
            None => path.push(char::from(*byte)),
        }
    }
    path.replace(' ', "%20")
}

/// Whether the first non-empty segments are `name` and more follows; only unneeded escapes and `//` may
/// differ.
fn lies_below(path: &[u8], name: &str) -> bool {
    let path = percent_decode(&merge(path), |byte| byte.is_ascii_alphanumeric());
    path.starts_with(format!("/{name}/").as_bytes())
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (hops, pieces) = input;
    let Ok(uri) = Uri::try_from(drawn(pieces)) else {
        return;
    };
    let hops = hops
        .iter()
        .take(8)
        .map(|hop| HOPS[usize::from(*hop) % HOPS.len()]);
    let seen = |path: &str| {
        hops.clone()
            .fold(path.as_bytes().to_vec(), |path, hop| hop.take(&path))
    };
    let read = seen(uri.path());
    let request = Request::get(uri.clone()).body(()).expect("a request");
    let head = RequestHead::from(&request);

    let is_public = owns(&not(path("/admin/*")), &head);
    assert!(!is_public || !lies_below(&read, "admin"), "{uri}: {read:?}");
    if owns(&path("/ws/*"), &head) {
        assert!(lies_below(&read, "ws"), "{uri}: {read:?}");
        assert!(!owns(&not(path("/ws/*")), &head), "{uri}");
        let is_noticed = may_match(&path("/ws/admin/*"), &head);
        assert!(
            is_noticed || !lies_below(&read, "ws/admin"),
            "{uri}: {read:?}"
        );
    }
    let moved = PathRewrite::replace_prefix("/ws", "/chat/v2").apply(&uri);
    if let Ok(moved) = moved {
        let read = seen(moved.path());
        let is_whole = merge(&read) == b"/chat/v2";
        assert!(
            is_whole || lies_below(&read, "chat/v2"),
            "{uri} as {moved}: {read:?}"
        );
        assert_eq!(moved.query(), uri.query());
    }
});
