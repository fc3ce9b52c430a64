//! Any bytes of peers, with the laws that the fuzz targets of the same names check. Each case is made
//! from a number; a failure shows the command that runs it alone. `cases` has the variables.

use std::{collections::BTreeMap, panic};

use super::{
    cases::{Cases, again},
    parsers_kit::{client_request, forwarded, proxy_header, upstream_response},
    support::rng::Xorshift,
};
#[cfg(feature = "dns")]
use crate::parsers_kit::dns_answers;
#[cfg(feature = "http2")]
use crate::parsers_kit::http2_translation;
#[cfg(feature = "sticky")]
use crate::parsers_kit::sticky_cookie;

fn cases(usual: u64) -> Cases {
    Cases::of("PARSERS", usual)
}

/// Runs a case, and shows how to run it again if it fails.
fn run<T>(number: u64, check: impl FnOnce(&mut Xorshift) -> T + panic::UnwindSafe) -> T {
    let checked = panic::catch_unwind(|| check(&mut Xorshift::new(number)));
    checked.unwrap_or_else(|fault| {
        println!("{}", again("PARSERS", number, "property_parsers"));
        panic::resume_unwind(fault)
    })
}

#[test]
fn no_upstream_sees_a_request_that_a_client_did_not_send() {
    let mut reached = 0;
    let cases = cases(150);
    for number in cases.numbers {
        reached += run(number, |dice| {
            let case = client_request::Case::draw(dice);
            client_request::check(&client_request::Case::of_bytes(&case.bytes));
            client_request::check(&case)
        });
    }
    assert!(reached > 0 || !cases.are_many);
}

#[test]
fn a_client_gets_one_well_formed_response_whatever_an_upstream_sends() {
    let mut kinds = BTreeMap::<_, usize>::new();
    let cases = cases(150);
    for number in cases.numbers {
        let outcome = run(number, |dice| {
            let case = upstream_response::Case::draw(dice);
            upstream_response::check(&upstream_response::Case::of_bytes(&case.bytes));
            upstream_response::check(&case)
        });
        let kind = match outcome {
            upstream_response::Outcome::Accepted { .. } => "accepted",
            upstream_response::Outcome::Refused { .. } => "refused",
            upstream_response::Outcome::Failed(kind) => kind.as_str(),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    println!("{kinds:#?}");
    assert!(kinds.len() >= 4 || !cases.are_many, "{kinds:?}");
}

#[test]
fn a_forwarded_request_gets_its_own_response_whatever_an_upstream_sends() {
    use upstream_response::forwarding::{Case, check};
    let mut outcomes = BTreeMap::<_, usize>::new();
    let cases = cases(150);
    for number in cases.numbers {
        let outcome = run(number, |dice| {
            let case = Case::draw(dice);
            check(&Case::of_bytes(&[&[0; 4], &case.bytes[..]].concat()));
            check(&case)
        });
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{outcomes:#?}");
    assert!(outcomes.len() == 4 || !cases.are_many, "{outcomes:?}");
}

#[cfg(feature = "http2")]
#[test]
fn a_request_keeps_its_meaning_between_the_versions_of_http() {
    let mut ends = BTreeMap::<_, usize>::new();
    let cases = cases(150);
    for number in cases.numbers {
        let both = run(number, |dice| {
            http2_translation::check(&http2_translation::Case::draw(dice))
        });
        for (direction, end) in both.into_iter().enumerate() {
            *ends.entry((direction, end)).or_default() += 1;
        }
    }
    assert!(ends.len() == 6 || !cases.are_many, "{ends:?}");
}

#[test]
fn no_lines_make_a_client_appear_elsewhere() {
    let is_trusted = |number| {
        run(number, |dice| {
            forwarded::check(&forwarded::Case::draw(dice))
        })
    };
    let cases = cases(2000);
    let trusted = cases.numbers.filter(|number| is_trusted(*number)).count();
    assert!(trusted > 0 || !cases.are_many);
}

#[test]
fn a_header_of_the_proxy_protocol_is_read_as_a_whole_one_is() {
    let mut whole = 0;
    let cases = cases(100);
    for number in cases.numbers {
        let header = run(number, |dice| {
            let case = proxy_header::Case::draw(dice);
            proxy_header::check(&proxy_header::Case::of_bytes(&case.bytes));
            proxy_header::check(&case)
        });
        whole += usize::from(matches!(header, proxy_header::Header::Whole(Some(_), _)));
    }
    assert!(whole > 0 || !cases.are_many);
}

#[cfg(feature = "sticky")]
#[test]
fn an_upstream_is_named_by_its_own_token_alone() {
    let is_named = |number| {
        run(number, |dice| {
            sticky_cookie::check(&sticky_cookie::Case::draw(dice))
        })
    };
    let cases = cases(200);
    let named = cases.numbers.filter(|number| is_named(*number)).count();
    assert!(named > 0 || !cases.are_many);
}

#[cfg(feature = "dns")]
#[test]
fn the_upstreams_are_those_of_the_records() {
    let sets = |number| {
        run(number, |dice| {
            dns_answers::check(&dns_answers::Case::draw(dice))
        })
    };
    let cases = cases(500);
    assert!(cases.numbers.map(sets).sum::<usize>() > 0 || !cases.are_many);
}
