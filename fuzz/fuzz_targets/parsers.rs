// The laws of the parsers, with the drawing of cases. Included at the root of each target that uses them,
// where the modules expect each other.

#[allow(dead_code, reason = "each target uses a part of the kit")]
#[path = "../../tests/it/parsers_kit"]
mod parsers_kit {
    pub(crate) mod client_request;
    pub(crate) mod dns_answers;
    pub(crate) mod forwarded;
    pub(crate) mod garble;
    pub(crate) mod handshake;
    pub(crate) mod http2_translation;
    pub(crate) mod proxy_header;
    pub(crate) mod stage;
    pub(crate) mod sticky_cookie;
    pub(crate) mod strict;
    pub(crate) mod upstream_response;
}

#[allow(dead_code, reason = "other tests need more of the kit")]
#[path = "../../tests/it/support"]
mod support {
    pub(crate) mod clock;
    pub(crate) mod dice;
    pub(crate) mod pipe;
    pub(crate) mod rng;
}

/// Chooses by the first byte between the bytes as they are and a case drawn from known parts.
#[allow(dead_code, reason = "some targets draw all their cases")]
fn bytes_or_drawn<C>(
    bytes: &[u8],
    of_bytes: impl Fn(&[u8]) -> C,
    draw: impl Fn(&mut support::dice::Input<'_>) -> C,
) -> Option<C> {
    let (first, rest) = bytes.split_first()?;
    Some(match first % 2 {
        0 => of_bytes(rest),
        _ => draw(&mut support::dice::Input(rest)),
    })
}
