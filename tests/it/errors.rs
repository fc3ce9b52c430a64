//! Every public error prints its own sentence, and has its cause as its source: a reporter that
//! follows the sources prints each cause once. The alternate form prints the chain in one line.

use std::{any::type_name, error::Error as StdError, iter::successors};

use axum::body::Body;
use tower::ServiceExt as _;
use wsplice::{
    Error, ErrorKind, Pool, ProxyLayer,
    connect::Address,
    discovery::DiscoverError,
    frame::{ControlError, HeaderError, OpCode, Violation},
    handshake::{InvalidHandshake, InvalidUpgradeResponse},
    head::{InvalidHost, InvalidPath, PathRewrite, RewriteError},
    headers::{HeaderEdits, InvalidHeaderEdit, InvalidNetwork, InvalidPseudonym, Via},
    health::probe::ProbeFailure,
    matcher::{InvalidOrigin, client_ip, origin},
};

use crate::support::{sources::sources, upstream::closed_addr};

/// An error, printed in both forms.
struct Case {
    name: &'static str,
    error: Box<dyn StdError>,
    sentence: String,
    line: String,
}

fn case<E: StdError + 'static>(error: E) -> Case {
    Case {
        name: type_name::<E>(),
        sentence: error.to_string(),
        line: format!("{error:#}"),
        error: Box::new(error),
    }
}

/// The error and its causes.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a dyn StdError> {
    successors(Some(error), |&error| error.source()).map(|error| error as _)
}

/// The rejection of a request that is forwarded to an upstream.
async fn rejection(upstream: &str) -> Error {
    let proxy = ProxyLayer::new(Pool::new([upstream]).unwrap())
        .forward_http(wsplice::ForwardHttp::new())
        .into_service();
    let response = proxy
        .oneshot(
            http::Request::get("/")
                .header("Host", "app.test")
                .body(Body::empty())
                .unwrap(),
        )
        .await;
    let error = response.unwrap().extensions().get::<Error>().cloned();
    error.expect("the request is rejected")
}

async fn cases() -> Vec<Case> {
    let port = closed_addr().await.port();
    let connect = rejection(&format!("ws://localhost:{port}")).await;
    assert_eq!(connect.kind(), ErrorKind::Connect);
    let broken = connect.clone();
    let long_target = format!("/{}", "a".repeat(65_530)).parse().unwrap();
    let prefix = PathRewrite::add_prefix("/prefix").unwrap();
    let mut cases = vec![
        case::<RewriteError>(prefix.apply(&long_target).unwrap_err()),
        case::<ProbeFailure>(ProbeFailure::IncompleteResponse(broken)),
        case::<ProbeFailure>(ProbeFailure::Failed(connect.clone())),
        case::<ProbeFailure>(ProbeFailure::Violation(Violation::DataAfterClose)),
        case::<DiscoverError>(DiscoverError::failed(connect.clone())),
        case::<DiscoverError>(DiscoverError::Ended),
        case::<Error>(connect),
        case::<InvalidUpgradeResponse>(InvalidUpgradeResponse::AcceptKey),
        case::<InvalidHandshake>(InvalidHandshake::Version),
        case::<InvalidHost>(InvalidHost::Repeated),
        case::<InvalidPath>(PathRewrite::add_prefix("no path").unwrap_err()),
        case::<InvalidHeaderEdit>(HeaderEdits::new().remove("a b").unwrap_err()),
        case::<InvalidPseudonym>(Via::new("a b").unwrap_err()),
        case::<InvalidNetwork>(client_ip(["x"]).unwrap_err()),
        case::<InvalidOrigin>(origin(["x"]).unwrap_err()),
        case::<wsplice::connect::InvalidAddress>(Address::parse("x").unwrap_err()),
        case::<HeaderError>(HeaderError::ControlTooLong),
        case::<ControlError>(ControlError::Header(HeaderError::ControlTooLong)),
        case::<ControlError>(ControlError::NotControl(OpCode::TEXT)),
        case::<Violation>(Violation::DataAfterClose),
    ];
    cases.extend(cases_of_features());
    cases
}

fn cases_of_features() -> Vec<Case> {
    vec![
        #[cfg(feature = "regex")]
        case::<wsplice::matcher::InvalidPathRegex>(wsplice::matcher::path_regex("(").unwrap_err()),
        #[cfg(feature = "regex")]
        case::<wsplice::health::probe::InvalidExpectation>(
            wsplice::health::probe::HttpProbe::get("/")
                .expect_body_match("(")
                .unwrap_err(),
        ),
        #[cfg(feature = "sticky")]
        case::<wsplice::balance::InvalidSticky>(
            wsplice::balance::Sticky::new("a b", [0; 32]).unwrap_err(),
        ),
        #[cfg(feature = "dns")]
        case::<wsplice::discovery::InvalidName>(wsplice::discovery::Dns::services("").unwrap_err()),
        #[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
        case::<wsplice::connect::InvalidTls>(
            wsplice::connect::Tls::builder()
                .root_certificates(b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n")
                .unwrap_err(),
        ),
    ]
}

#[tokio::test]
async fn no_error_prints_the_text_of_its_source() {
    for Case { name, error, .. } in cases().await {
        for error in chain(&*error) {
            let text = error.to_string();
            assert!(!text.is_empty(), "{name}");
            if let Some(source) = error.source() {
                let cause = source.to_string();
                assert!(!text.contains(&cause), "{name}: {text:?} has {cause:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_alternate_form_prints_each_cause_once() {
    for case in cases().await {
        let texts: Vec<_> = chain(&*case.error).map(ToString::to_string).collect();
        assert_eq!(case.line, texts.join(": "), "{}", case.name);
        assert_eq!(case.sentence, texts[0], "{}", case.name);
    }
}

/// A failed connect is printed with the address and the system's reason.
#[tokio::test]
async fn the_chain_of_a_failed_connect_has_the_address_and_the_reason() {
    let port = closed_addr().await.port();
    let error = rejection(&format!("ws://localhost:{port}")).await;
    assert_eq!(error.to_string(), "the upstream could not be connected");
    let line = format!("{error:#}");
    assert!(line.contains(&format!(":{port}: ")), "{line}");
    assert!(line.contains("refused"), "{line}");
}

#[test]
fn no_public_error_type_is_missing_here() {
    let mut found = 0;
    for (path, text) in sources() {
        for name in text.lines().filter_map(error_type) {
            let is_public = ["struct", "enum"].iter().any(|kind| {
                let declared = format!("\npub {kind} {name} ");
                text.contains(&declared)
            });
            if is_public {
                found += 1;
                assert!(is_named_here(name), "{name} of {}", path.display());
            }
        }
    }
    assert!(found > 15, "only {found} error types were found");
}

/// The type that this line implements `Error` for.
fn error_type(line: &str) -> Option<&str> {
    let (_, rest) = line.strip_prefix("impl ")?.split_once("Error for ")?;
    rest.split(|c: char| !c.is_alphanumeric()).next()
}

fn is_named_here(name: &str) -> bool {
    let here = include_str!("errors.rs");
    ["case::<", "::"].iter().any(|before| {
        let named = format!("{before}{name}>(");
        here.contains(&named)
    })
}
