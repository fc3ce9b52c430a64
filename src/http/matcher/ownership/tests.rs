//! Ownership of confusing paths, by table and at random.

mod hops;
mod table;

use http::{Method, Request, Uri};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use self::hops::{HOPS, Hop, merge, percent_decode};
use self::table::ROWS;
use super::*;
use crate::http::head::strategies::{tricky_path, tricky_path_below};
use crate::http::matcher::testing::Spy;
use crate::http::matcher::{all, any, not, path};

fn owned(matcher: &impl Matcher, target: &str) -> bool {
    let request = Request::get(target).body(()).unwrap();
    owns(matcher, &RequestHead::from(&request))
}

#[test]
fn confusing_paths_are_read_and_owned_as_the_table_says() {
    for (target, reading, ws, public, everything) in ROWS {
        let request = Request::get(*target).body(()).unwrap();
        let head = RequestHead::from(&request);
        assert_eq!(head.path(), *reading, "{target}");
        assert_eq!(owns(&path("/ws/*"), &head), *ws, "/ws/* of {target}");
        assert_eq!(
            owns(&not(path("/admin/*")), &head),
            *public,
            "not /admin/* of {target}"
        );
        assert_eq!(owns(&path("/*"), &head), *everything, "/* of {target}");
        assert_eq!(owns(&path("*"), &head), *everything, "* of {target}");
    }
}

#[test]
fn closures_and_combinations_are_evaluated_on_every_reading() {
    let closure = |head: &RequestHead<'_>| head.path().starts_with("/ws/");
    let target = "/ws/..%2fprivate";
    let request = Request::get(target).body(()).unwrap();
    assert!(closure(&RequestHead::from(&request)));
    assert!(!owned(&closure, target));
    assert!(!owned(&closure.and(path("*")), target));
    assert!(!owned(&any([path("/ws/*"), path("/x")]), target));
    assert!(!owned(&all([path("/ws/*"), path("*")]), target));
    assert!(!owned(&not(not(path("/ws/*"))), target));
    assert!(owned(&any([path("/ws/*"), path("/private")]), target));

    let matcher: &dyn Matcher = &path("/ws/*");
    assert!(!owns(matcher, &RequestHead::from(&request)));
}

#[test]
fn a_usual_path_costs_one_evaluation() {
    for target in [
        "/ws/x",
        "/ws//x",
        "/%77s/x",
        "/my%20file",
        "/caf%C3%A9",
        "*",
    ] {
        let spy = Spy::new(true);
        assert!(owned(&spy, target));
        assert_eq!(spy.evaluations(), 1, "{target}");
    }
}

#[test]
fn the_first_mismatch_is_the_last_evaluation() {
    let spy = Spy::new(false);
    assert!(!owned(&spy, "/ws/../x"));
    assert_eq!(spy.evaluations(), 1);
}

#[test]
fn a_path_with_too_many_readings_is_not_evaluated() {
    let spy = Spy::new(true);
    assert!(!owned(&spy, "/a%00b"));
    assert_eq!(spy.evaluations(), 0);
}

#[test]
fn a_reading_keeps_all_but_the_path() {
    let request = Request::post("http://a.example/ws/%2e%2e/x?q")
        .header("origin", "null")
        .header("sec-websocket-protocol", "chat")
        .extension(7_u8)
        .body(())
        .unwrap();
    let head = RequestHead::from(&request).with_client_ip([10, 0, 0, 1]);
    let readings = std::sync::Mutex::new(Vec::new());
    let matcher = |head: &RequestHead<'_>| {
        readings.lock().unwrap().push(head.path().to_owned());
        head.method() == Method::POST
            && head.uri() == "http://a.example/ws/%2e%2e/x?q"
            && head.host() == Some("a.example")
            && head.query() == Some("q")
            && head.origin() == Some("null")
            && head.subprotocols() == ["chat"]
            && head.extensions().get() == Some(&7_u8)
            && head.client_ip() == Some([10, 0, 0, 1].into())
            // On a reading, only that reading counts.
            && owns(&|other: &RequestHead<'_>| other.path() == head.path(), head)
    };
    assert!(owns(&matcher, &head));
    assert_eq!(readings.into_inner().unwrap(), ["/x", "/ws/../x"]);
}

/// Returns whether the first non-empty segment is `name` and more follows. Only unneeded escapes
/// and `//` may differ.
fn lies_below(path: &[u8], name: &str) -> bool {
    let path = percent_decode(&merge(path), |byte| byte.is_ascii_alphanumeric());
    path.starts_with(format!("/{name}/").as_bytes())
}

fn hops() -> impl Strategy<Value = Vec<Hop>> {
    vec(select(HOPS), 0..7)
}

/// Generates paths that an HTTP parser accepts.
fn target(paths: impl Strategy<Value = String>) -> impl Strategy<Value = Uri> {
    paths.prop_filter_map("not a target", |path| path.replace(' ', "%20").parse().ok())
}

fn owned_uri(matcher: &impl Matcher, uri: Uri) -> bool {
    owns(
        matcher,
        &RequestHead::from(&Request::get(uri).body(()).unwrap()),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn what_is_owned_lies_there_for_every_upstream(
        uri in target(tricky_path_below("/ws")),
        hops in hops(),
    ) {
        if owned_uri(&path("/ws/*"), uri.clone()) {
            let seen = hops.iter().fold(uri.path().as_bytes().to_vec(), |path, hop| hop.take(&path));
            prop_assert!(lies_below(&seen, "ws"), "{:?}", String::from_utf8_lossy(&seen));
        }
    }

    #[test]
    fn what_is_left_out_is_left_out_for_every_upstream(
        uri in target(tricky_path()),
        hops in hops(),
    ) {
        if owned_uri(&not(path("/admin/*")), uri.clone()) {
            let seen = hops.iter().fold(uri.path().as_bytes().to_vec(), |path, hop| hop.take(&path));
            prop_assert!(!lies_below(&seen, "admin"), "{:?}", String::from_utf8_lossy(&seen));
        }
    }

    #[test]
    fn what_a_server_reads_as_forbidden_may_match(
        uri in prop_oneof![target(tricky_path_below("/ws/admin")), target(tricky_path_below("/ws"))],
        hops in hops(),
    ) {
        if owned_uri(&path("/ws/*"), uri.clone()) {
            let seen = hops.iter().fold(uri.path().as_bytes().to_vec(), |path, hop| hop.take(&path));
            let request = Request::get(uri).body(()).unwrap();
            let is_noticed = may_match(&path("/ws/admin/*"), &RequestHead::from(&request));
            prop_assert!(
                is_noticed || !lies_below(&seen, "ws/admin"),
                "{:?}", String::from_utf8_lossy(&seen)
            );
        }
    }

    #[test]
    fn owning_is_matching_where_the_path_is_usual(uri in target("/([a-z0-9_.~-][a-z0-9_./~-]{0,39})?")) {
        let request = Request::get(uri).body(()).unwrap();
        let head = RequestHead::from(&request);
        let matcher = path("/*a/*");
        if !head.uri().path().split('/').any(|segment| segment.ends_with('.')) {
            prop_assert_eq!(owns(&matcher, &head), matcher.matches(&head));
        }
    }
}
