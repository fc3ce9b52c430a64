//! Any `Cookie` lines of a client: those alone name an upstream that hold a token which the policy has
//! minted for it, among the first few cookies of the name.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, header::COOKIE};
use wsplice::{
    Upstream,
    balance::{Balance, First, Sticky},
    head::RequestHead,
    headers::ClientScheme,
    testing::MockCandidates,
};

use crate::support::dice::Dice;

/// The cookies of the name that are read.
const MOST: usize = 4;

const NAME: &str = "up";

/// A client's cookies.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    lines: Vec<Vec<u8>>,
    upstreams: usize,
}

/// The tokens of this many upstreams, under the key of this number.
fn tokens(key: u8, upstreams: usize) -> Vec<String> {
    let mock = candidates(upstreams);
    let request = Request::new(());
    let head = RequestHead::from(&request);
    let mint = |index| {
        let picked = mock.candidates().get(index).expect("a candidate");
        let (_, line) = policy(key).response_header(&picked, &head, ClientScheme::Http)?;
        let line = line.to_str().expect("ASCII").to_owned();
        Some(line.split([';', '=']).nth(1).expect("a token").to_owned())
    };
    (0..upstreams)
        .map(|index| mint(index).expect("a cookie"))
        .collect()
}

fn policy(key: u8) -> Sticky {
    let policy = Sticky::new(NAME, [key; 32]).expect("a policy");
    policy
        .fallback(First::new())
        .max_age(Duration::from_secs(60))
}

fn candidates(count: usize) -> MockCandidates {
    let upstream = |number| Upstream::new(&format!("ws://u{number}:80")).expect("an address");
    MockCandidates::from_upstreams((0..count).map(upstream))
}

impl Case {
    /// Draws cookies, of which some hold tokens that are nearly right.
    pub(crate) fn draw(dice: &mut impl Dice) -> Self {
        let upstreams = 1 + dice.below(4);
        let mut lines = Vec::new();
        for _ in 0..dice.below(4) {
            let mut line = Vec::new();
            for _ in 0..dice.up_to(4) {
                if !line.is_empty() {
                    line.extend_from_slice(dice.pick(["; ", ";", " ; ", ";;", ", "]).as_bytes());
                }
                line.extend_from_slice(
                    dice.pick(["up", "up", "up", "Up", " up ", "xup", "up2"])
                        .as_bytes(),
                );
                line.extend_from_slice(
                    dice.pick(["=", "=", "=", " = ", "==", "", "=\""])
                        .as_bytes(),
                );
                line.extend(token(dice, upstreams));
            }
            lines.push(line);
        }
        Self { lines, upstreams }
    }
}

fn token(dice: &mut impl Dice, upstreams: usize) -> Vec<u8> {
    let key = if dice.is_one_of(4) { 2 } else { 1 };
    let mut minted = tokens(key, 4).swap_remove(dice.below(4)).into_bytes();
    let other = tokens(1, upstreams.max(2))
        .swap_remove(dice.below(2))
        .into_bytes();
    match dice.below(9) {
        0 => {
            let at = dice.below(minted.len());
            minted[at] = dice.below(256) as u8;
        }
        1 => minted.truncate(dice.below(minted.len())),
        2 => minted.push(b'0'),
        3 => minted.make_ascii_uppercase(),
        // One upstream's code with the other's hash.
        4 => minted
            .splice(64.., other[64..].iter().copied())
            .for_each(drop),
        5 => minted = dice.bytes(80),
        _ => {}
    }
    minted
}

/// Checks the laws; returns whether a cookie named an upstream.
pub(crate) fn check(case: &Case) -> bool {
    let mock = candidates(case.upstreams);
    let mut request = Request::new(());
    let mut headers = HeaderMap::new();
    for line in &case.lines {
        if let Ok(line) = HeaderValue::from_bytes(line) {
            headers.append(COOKIE, line);
        }
    }
    *request.headers_mut() = headers;
    let head = RequestHead::from(&request);
    let minted = tokens(1, case.upstreams);
    let cookies = cookies(request.headers());
    let valid = cookies
        .iter()
        .find_map(|cookie| minted.iter().position(|token| token.as_bytes() == cookie));
    let policy = policy(1);
    let picked = policy.pick(&mock.candidates(), &head);
    assert_eq!(picked, Some(valid.unwrap_or(0)), "{case:?}");
    for (index, token) in minted.iter().enumerate() {
        let candidate = mock.candidates().get(index).expect("a candidate");
        let set = policy.response_header(&candidate, &head, ClientScheme::Https);
        // The client gets a cookie for the upstream that it is served by, unless it has that one.
        let has_it = cookies.iter().any(|cookie| cookie == token.as_bytes());
        assert_eq!(set.is_none(), has_it, "{case:?}");
        if let Some((_, line)) = set {
            let wanted = format!("{NAME}={token}; ");
            assert!(
                line.to_str()
                    .is_ok_and(|line| line.starts_with(&wanted) && line.contains("Secure"))
            );
        }
    }
    valid.is_some()
}

/// The first cookies of the name (RFC 6265 §4.2.1).
fn cookies(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for line in headers.get_all(COOKIE) {
        for pair in line.as_bytes().split(|byte| *byte == b';') {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                if super::strict::trim(name) == NAME.as_bytes() {
                    found.push(super::strict::trim(value).to_vec());
                }
            }
        }
    }
    found.truncate(MOST);
    found
}
