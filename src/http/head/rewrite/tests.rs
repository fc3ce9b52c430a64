use proptest::prelude::*;

use super::*;
use crate::http::head::path::strategies::tricky_path;

fn strip(prefix: &str) -> PathRewrite {
    PathRewrite::strip_prefix(prefix).unwrap()
}

fn add(prefix: &str) -> PathRewrite {
    PathRewrite::add_prefix(prefix).unwrap()
}

fn set(path: &str) -> PathRewrite {
    PathRewrite::set_path(path).unwrap()
}

#[track_caller]
fn check(rewrite: &PathRewrite, rows: &[(&str, &str)]) {
    for (target, wanted) in rows {
        let rewritten = rewrite.apply(&target.parse().unwrap()).unwrap();
        assert_eq!(rewritten, *wanted, "{target}");
    }
}

#[test]
fn a_prefix_is_stripped_by_whole_segments() {
    let rows = [
        ("/ws/x", "/x"),
        ("/ws", "/"),
        ("/ws/", "/"),
        ("/ws/x/?q=1", "/x/?q=1"),
        ("//%77s//caf%c3%a9", "/caf%c3%a9"),
        ("/ws/ws/x", "/ws/x"),
        ("/wsx", "/wsx"),
        ("/", "/"),
        ("/x/ws", "/x/ws"),
        ("/ws%2fx", "/ws%2fx"),
        ("/WS/x", "/WS/x"),
        ("http://a.example/ws/x?q", "/x?q"),
    ];
    check(&strip("/ws"), &rows);
    check(&strip("/ws/"), &rows);
    check(&strip("/w%73"), &rows);
    check(
        &strip("/a/b"),
        &[("/a/b/c", "/c"), ("/a/bc", "/a/bc"), ("/a", "/a")],
    );
    check(&strip("/"), &[("/a/", "/a/"), ("/", "/")]);
}

#[test]
fn dot_segments_are_resolved_before_anything_is_stripped() {
    check(
        &strip("/ws"),
        &[
            ("/ws/../private", "/private"),
            ("/ws/%2e%2e/private", "/private"),
            ("/ws/a/../b/.", "/b/"),
            ("/x/../ws/b", "/b"),
            ("/x/./y", "/x/y"),
        ],
    );
}

#[test]
fn a_prefix_is_added_before_all_segments() {
    check(
        &add("/v2"),
        &[
            ("/x?a=/../b", "/v2/x?a=/../b"),
            ("/", "/v2/"),
            ("//x//", "/v2/x/"),
            ("/../../x", "/v2/x"),
            ("/a%2fb;v=1", "/v2/a%2fb;v=1"),
        ],
    );
    check(&add("/"), &[("/x", "/x")]);
    check(&add("/a%20b/"), &[("/x", "/a%20b/x")]);
}

#[test]
fn a_path_is_set_and_the_query_stays() {
    check(
        &set("/chat"),
        &[
            ("/ws/x?q=%2F&r", "/chat?q=%2F&r"),
            ("/..%2f", "/chat"),
            ("/?", "/chat?"),
        ],
    );
    check(&set("/a/;b%2Fc/"), &[("/x", "/a/;b%2Fc/")]);
}

#[test]
fn changes_follow_each_other() {
    check(
        &strip("/ws").then(add("/chat")),
        &[
            ("/ws/x", "/chat/x"),
            ("/ws", "/chat"),
            ("/ws/", "/chat/"),
            ("/y", "/chat/y"),
        ],
    );
    check(
        &add("/a").then(strip("/a/b")),
        &[("/b/c", "/c"), ("/x", "/a/x")],
    );
}

#[test]
fn nothing_climbs_out_of_a_prefix_that_was_added() {
    for target in [
        "/..%2fprivate",
        "/x/..%2f..%2fprivate",
        "/..\\private",
        "/..%5cprivate",
        "/..;/private",
        "/%252e%252e/private",
        "/%252e%252e%252fprivate",
        "/..%20/private",
        "/a%00",
    ] {
        let error = add("/v2").apply(&target.parse().unwrap()).unwrap_err();
        assert!(matches!(error, RewriteError::LeavesPrefix), "{target}");
    }
    check(&add("/v2"), &[("/x/..%2fy", "/v2/x/..%2fy")]);
}

#[test]
fn a_target_without_a_path_is_not_rewritten() {
    for target in ["*", "example.com:80"] {
        let error = set("/x").apply(&target.parse().unwrap()).unwrap_err();
        assert!(matches!(error, RewriteError::NoPath), "{target}");
    }
}

#[test]
fn a_target_that_grows_too_long_is_an_error() {
    let target = format!("/{}", "a".repeat(65_530)).parse().unwrap();
    let error = add("/prefix").apply(&target).unwrap_err();
    assert!(matches!(error, RewriteError::Invalid(_)));
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn what_is_no_path_is_named_in_the_error() {
    for path in [
        "", "ws", "*", "/a?b", "/a#b", "/a b", "/a\n", "/a/../b", "/a/%2e", "/..",
    ] {
        for rewrite in [
            PathRewrite::strip_prefix,
            PathRewrite::add_prefix,
            PathRewrite::set_path,
        ] {
            let error = rewrite(path).unwrap_err();
            assert!(error.to_string().contains(&format!("{path:?}")), "{error}");
        }
    }
    for path in ["/a;b", "/a%2Fb", "/a\\b", "/a./b", "/a%00"] {
        assert!(PathRewrite::add_prefix(path).is_err(), "{path}");
        assert!(PathRewrite::strip_prefix(path).is_ok(), "{path}");
    }
}

fn has_dot_segment(path: &str) -> bool {
    path.split('/')
        .any(|segment| matches!(comparable(segment).as_ref(), "." | ".."))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn what_is_rewritten_is_clean_and_keeps_its_query(
        path in tricky_path(),
        query in proptest::option::of("[a-z/.%?=&]{0,12}"),
        rewrite in prop_oneof![
            Just(strip("/ws")),
            Just(add("/v2")),
            Just(set("/v2")),
            Just(strip("/ws").then(add("/v2"))),
        ],
    ) {
        let text = match &query {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        if let Ok(target) = text.parse::<Uri>() {
            if let Ok(rewritten) = rewrite.apply(&target) {
                prop_assert!(!has_dot_segment(rewritten.path()), "{}", rewritten);
                prop_assert!(!rewritten.path().contains("//"), "{}", rewritten);
                prop_assert_eq!(rewritten.query(), query.as_deref());
            }
        }
    }

    #[test]
    fn what_gets_a_prefix_is_below_it_in_every_reading(path in tricky_path()) {
        if let Ok(target) = path.parse::<Uri>() {
            if let Ok(rewritten) = strip("/ws").then(add("/v2")).apply(&target) {
                let readings = PathReadings::new(rewritten.path());
                let others = readings.others().unwrap().iter().map(String::as_str);
                for reading in others.chain([readings.primary()]) {
                    prop_assert!(reading == "/v2" || reading.starts_with("/v2/"), "{}", reading);
                }
            }
        }
    }
}

#[test]
fn literals_are_replaced_without_an_error_to_handle() {
    let cases = [
        ("/ws", "/chat", "/ws/a?b", "/chat/a?b"),
        ("/ws", "/chat", "/ws", "/chat"),
        ("/ws", "/chat", "/ws/", "/chat/"),
        ("/ws", "/", "/ws/a", "/a"),
        ("/", "/chat", "/ws/a", "/chat/ws/a"),
        ("/ws", "/chat", "/wsx", "/chat/wsx"),
        ("/ws", "/chat/v2/", "/ws/a", "/chat/v2/a"),
        // Literals that are no paths.
        ("ws", "chat", "/ws/a", "/chat/a"),
        ("", "", "/ws/a", "/ws/a"),
        ("/ws", "/a b", "/ws/x", "/a%20b/x"),
        ("/ws", "/caf\u{e9}", "/ws/x", "/caf%C3%A9/x"),
        ("/ws", "/caf%C3%A9", "/ws/x", "/caf%C3%A9/x"),
        ("/ws", "/a/../b", "/ws/x", "/b/x"),
    ];
    for (prefix, replacement, requested, expected) in cases {
        let rewrite = PathRewrite::replace_prefix(prefix, replacement);
        let requested = requested.parse().unwrap();
        let path = rewrite.apply(&requested).unwrap();
        assert_eq!(path, expected, "{prefix:?} {replacement:?} {requested}");
    }
}

#[test]
fn a_replaced_prefix_cannot_be_left() {
    let rewrite = PathRewrite::replace_prefix("/ws", "/chat");
    let climbs = "/ws/..%2fprivate".parse().unwrap();
    assert!(matches!(
        rewrite.apply(&climbs),
        Err(RewriteError::LeavesPrefix)
    ));
    assert_eq!(
        rewrite.apply(&"/ws/../a".parse().unwrap()).unwrap(),
        "/chat/a"
    );
}
