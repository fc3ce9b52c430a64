//! The laws for the connection behind a response: no byte of it becomes a part of the next response, and
//! it serves no request that it must not.

use crate::parsers_kit::strict::{Framing, Head, LineEnds, Read, body};

use super::{Asks, Case, End, Exchanges, Response, client::is_usual, has_second};

/// Checks the second exchange; returns whether it was on the connection of the first.
pub(super) fn check(case: &Case, exchanges: &Exchanges, response: Option<&Response<'_>>) -> bool {
    check_second(case, &exchanges.second);
    let is_reused = exchanges
        .upstream
        .first()
        .is_some_and(|first| has_second(first));
    let may_be = response.is_some_and(|response| may_be_reused(case, response));
    assert!(
        !is_reused || may_be,
        "reused after {response:?} in {case:?}"
    );
    let must_be = response.is_some_and(|response| must_be_reused(case, response));
    assert!(
        is_reused || !must_be,
        "not reused after {response:?} in {case:?}"
    );
    is_reused
}

/// The second response is the second request's.
fn check_second(case: &Case, received: &[u8]) {
    let shown = String::from_utf8_lossy(received);
    let Read::Whole(head) = Head::read(received, LineEnds::Sent) else {
        panic!("{shown} in {case:?}");
    };
    assert_eq!(head.status_line(), Some((200, 1)), "{shown} in {case:?}");
    assert!(head.has("x-second"), "{shown} in {case:?}");
    let behind = &received[head.len..];
    let wanted = Read::Whole((b"second".to_vec(), behind.len()));
    assert_eq!(
        body(behind, head.response_framing()),
        wanted,
        "{shown} in {case:?}"
    );
}

/// Whether the connection may serve another request (RFC 9112 §9.3): the response is complete, nothing is
/// behind it, the upstream keeps the connection for so long, and authenticates none for one client.
fn may_be_reused(case: &Case, response: &Response<'_>) -> bool {
    let head = response.head();
    let is_whole = match &response.body {
        Read::Whole((_, len)) => *len == response.model.behind.len(),
        _ => false,
    };
    let options = head.list("connection");
    let has = |option: &str| options.iter().any(|it| it == option);
    let is_new = head.status_line().is_some_and(|(_, minor)| minor == 1);
    let pause = case.pause.unwrap_or_default();
    let is_kept = announced(head).is_none_or(|seconds| pause.as_secs() < seconds);
    is_whole
        && response.framing != Framing::UntilEnd
        && case.end != End::InOrder
        && !(case.end == End::Reset && case.pause.is_some())
        && !has("close")
        && (is_new || has("keep-alive"))
        && is_kept
        && !authenticates_connection(head)
}

/// Whether nothing speaks against another request, also for hyper.
fn must_be_reused(case: &Case, response: &Response<'_>) -> bool {
    may_be_reused(case, response)
        && is_usual(response)
        && case.asks != Asks::PostSlowly
        && case.pause.is_some()
        && !response.head().has("keep-alive")
        && !response.head().has("connection")
        && response
            .head()
            .status_line()
            .is_some_and(|(_, minor)| minor == 1)
}

/// The time for which the upstream keeps the connection, in seconds.
fn announced(head: &Head) -> Option<u64> {
    let members = head.list("keep-alive");
    let mut parameters = members.iter().filter_map(|member| member.split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.trim() == "timeout")?;
    value.trim().trim_matches('"').parse().ok()
}

/// NTLM and Negotiate (RFC 4559).
fn authenticates_connection(head: &Head) -> bool {
    let challenges = head.list("www-authenticate");
    let mut schemes = challenges.iter().filter_map(|it| it.split(' ').next());
    schemes.any(|scheme| matches!(scheme, "ntlm" | "negotiate"))
}
