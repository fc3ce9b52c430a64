use super::*;

fn request(target: &str, lines: &[(HeaderName, &str)]) -> Request<()> {
    let mut request = Request::get(target).body(()).unwrap();
    for (name, line) in lines {
        request.headers_mut().append(name, line.parse().unwrap());
    }
    request
}

#[test]
fn a_request_and_its_parts_give_the_same_view() {
    let request = request("/ws//x?q=1", &[(HOST, "a.example:80")]);
    let (parts, ()) = request.clone().into_parts();
    for head in [RequestHead::from(&request), RequestHead::from(&parts)] {
        assert_eq!(head.method(), Method::GET);
        assert_eq!(head.uri(), "/ws//x?q=1");
        assert_eq!(head.version(), Version::HTTP_11);
        assert_eq!(head.headers().len(), 1);
        assert!(head.extensions().is_empty());
        assert_eq!(head.client_ip(), None);
        assert_eq!((head.path(), head.query()), ("/ws/x", Some("q=1")));
    }
}

#[test]
fn the_host_of_the_target_goes_before_the_header() {
    // RFC 9112 §3.2.2
    for (target, line, wanted) in [
        ("/", "a.example:81", Some("a.example")),
        ("http://b.example:82/", "a.example:81", Some("b.example")),
        ("http://u:p@[::1]:82/", "a.example", Some("[::1]")),
        ("b.example:443", "a.example", Some("b.example")),
        ("/", "A.Example.", Some("A.Example")),
        ("/", "a.example, b.example", None),
        ("/", "", None),
    ] {
        let request = request(target, &[(HOST, line)]);
        assert_eq!(
            RequestHead::from(&request).host(),
            wanted,
            "{target} {line}"
        );
    }
}

#[test]
fn every_request_names_one_valid_host_rfc9112_3_2() {
    use InvalidHost::{Empty, Malformed, Missing, Repeated, UnlikeAuthority};

    let (http10, http11, http2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
    for (version, target, hosts, expected) in [
        (http11, "/", &["a.example:81"][..], Ok(())),
        (http11, "/", &[], Err(Missing)),
        (http10, "/", &[], Ok(())),
        (http11, "/", &["a", "a"], Err(Repeated)),
        (http10, "/", &["a", "b"], Err(Repeated)),
        (http11, "/", &[""], Err(Empty)),
        (http11, "/", &[" "], Err(Empty)),
        (http11, "/", &["a b"], Err(Malformed)),
        (http11, "http://a/", &["b"], Ok(())),
        (http11, "http://a/", &[], Err(Missing)),
        (http11, "http://a/", &["b c"], Err(Malformed)),
        (http11, "http://u@a/", &["a"], Ok(())),
        (http2, "https://a/", &[], Ok(())),
        (http2, "https://A/", &["a:443"], Ok(())),
        (http2, "https://a/", &["a:444"], Err(UnlikeAuthority)),
        (http2, "https://a/", &["b"], Err(UnlikeAuthority)),
        (http2, "https://u@a/", &[], Err(Malformed)),
        (http2, "/", &["a"], Ok(())),
        (http2, "/", &[], Err(Missing)),
    ] {
        let lines: Vec<_> = hosts.iter().map(|host| (HOST, *host)).collect();
        let mut request = request(target, &lines);
        *request.version_mut() = version;
        let checked = RequestHead::from(&request).check_host();
        assert_eq!(checked, expected, "{version:?} {target} {hosts:?}");
    }
}

#[test]
fn two_hosts_are_none_and_so_are_two_origins() {
    let lines = [
        (HOST, "a"),
        (HOST, "a"),
        (ORIGIN, "http://a"),
        (ORIGIN, "http://a"),
    ];
    let request = request("/", &lines);
    let head = RequestHead::from(&request);
    assert_eq!((head.host(), head.origin()), (None, None));
}

#[test]
fn subprotocols_come_from_every_line_in_order() {
    let name = SEC_WEBSOCKET_PROTOCOL;
    let lines = [(name.clone(), "b , a"), (ORIGIN, "null"), (name, ",c")];
    let mut request = request("/", &lines);
    let head = RequestHead::from(&request);
    assert_eq!(head.subprotocols(), ["b", "a", "c"]);
    assert_eq!(head.origin(), Some("null"));
    request.headers_mut().clear();
    assert_eq!(RequestHead::from(&request).subprotocols(), [""; 0]);
}

#[test]
fn what_may_be_secret_is_not_shown() {
    let lines = [(SEC_WEBSOCKET_PROTOCOL, "bearer.s3cret"), (HOST, "a")];
    let request = request("/ws?token=s3cret", &lines);
    let head = RequestHead::from(&request);
    let _ = head.subprotocols();
    let shown = format!("{head:?}");
    assert!(
        shown.contains("/ws") && !shown.contains("s3cret"),
        "{shown}"
    );
}

#[test]
fn a_view_may_go_to_other_threads() {
    fn assert_send_sync<T: Send + Sync>() {}
    assert_send_sync::<RequestHead<'_>>();
}

#[test]
fn an_invalid_host_does_not_have_the_path_read_once_for_each_assumption() {
    let request = request("/ws/a%2Fb", &[(HOST, "a b")]);
    let head = RequestHead::from(&request);
    let place = head.path().as_ptr();
    let (evaluations, others) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let holds = head.holds_for_some_reading(|reading| {
        let is_primary = reading.path() == head.path();
        match is_primary {
            true => assert_eq!(reading.path().as_ptr(), place),
            false => others.set(others.get() + 1),
        }
        evaluations.set(evaluations.get() + 1);
        // A condition on the host doubles the assumptions.
        reading.host_condition(|_| false);
        false
    });
    assert!(!holds);
    assert!(evaluations.get() >= 4, "{evaluations:?}");
    assert!(others.get() > 0, "the path has one reading");
}

#[test]
fn conditions_on_an_invalid_host_are_evaluated_a_bounded_number_of_times() {
    let request = request("/ws", &[(HOST, "a b")]);
    let evaluations = std::cell::Cell::new(0);
    let holds = RequestHead::from(&request).holds_for_some_reading(|reading| {
        evaluations.set(evaluations.get() + 1);
        for _ in 0..20 {
            reading.host_condition(|_| false);
        }
        false
    });
    assert!(holds, "a request that is not evaluated whole is owned");
    assert_eq!(evaluations.get(), 64);
}
