//! The measured scenarios.

use crate::{http::Exchange, load::Work, target::Face, tls::Sessions, upstream::SOURCE_MESSAGE};

pub struct Scenario {
    pub name: &'static str,
    /// The connections, by their work.
    pub groups: &'static [(Work, usize)],
    pub yields: Yields,
    pub face: Face,
    pub sessions: Sessions,
}

/// The figures that a scenario yields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Yields {
    Messages,
    Volume,
    Latency,
    Handshakes,
    /// The latency of the first group by itself, and beside the others.
    Fairness,
}

use Yields::{Fairness, Handshakes, Latency, Messages, Volume};

const fn echo(payload: usize, depth: usize) -> Work {
    Work::Echo { payload, depth }
}

const fn on(
    face: Face,
    name: &'static str,
    yields: Yields,
    groups: &'static [(Work, usize)],
) -> Scenario {
    Scenario {
        name,
        groups,
        yields,
        face,
        sessions: Sessions::New,
    }
}

const fn plain(name: &'static str, yields: Yields, groups: &'static [(Work, usize)]) -> Scenario {
    on(Face::Plain, name, yields, groups)
}

const UP: Work = Work::Up {
    payload: SOURCE_MESSAGE,
};

/// The timed scenarios, in the order in which they run.
pub const ALL: &[Scenario] = &[
    plain("echo-16b-64", Messages, &[(echo(16, 1), 64)]),
    plain("echo-16b-512", Messages, &[(echo(16, 1), 512)]),
    plain("echo-1k-64", Messages, &[(echo(1024, 1), 64)]),
    plain("echo-1k-512", Messages, &[(echo(1024, 1), 512)]),
    plain("echo-64k-64", Messages, &[(echo(65_536, 1), 64)]),
    plain("echo-256k-16", Messages, &[(echo(262_144, 1), 16)]),
    plain("echo-1m-8", Messages, &[(echo(1 << 20, 1), 8)]),
    plain("echo-16b-x16-64", Messages, &[(echo(16, 16), 64)]),
    plain("down-1m", Volume, &[(Work::Down, 8)]),
    plain("up-1m", Volume, &[(UP, 8)]),
    plain(
        "latency-1000-8",
        Latency,
        &[(Work::Quiet, 1000), (echo(16, 1), 8)],
    ),
    plain(
        "fairness-8-8",
        Fairness,
        &[(echo(16, 1), 8), (Work::Flood, 8)],
    ),
    plain("handshake-16", Handshakes, &[(Work::Handshakes, 16)]),
    plain(
        "http-get-64",
        Messages,
        &[(Work::Requests(Exchange::Small), 64)],
    ),
    plain(
        "http-download-8",
        Volume,
        &[(Work::Requests(Exchange::Download), 8)],
    ),
    plain(
        "http-upload-8",
        Volume,
        &[(Work::Requests(Exchange::Upload), 8)],
    ),
    on(Face::Tls, "tls-echo-16b-64", Messages, &[(echo(16, 1), 64)]),
    on(
        Face::Tls,
        "tls-echo-1k-64",
        Messages,
        &[(echo(1024, 1), 64)],
    ),
    on(
        Face::Tls,
        "tls-echo-64k-64",
        Messages,
        &[(echo(65_536, 1), 64)],
    ),
    on(Face::Tls, "tls-down-1m", Volume, &[(Work::Down, 8)]),
    on(Face::Tls, "tls-up-1m", Volume, &[(UP, 8)]),
    on(
        Face::Tls,
        "tls-handshake-16",
        Handshakes,
        &[(Work::Handshakes, 16)],
    ),
    Scenario {
        sessions: Sessions::Resumed,
        ..on(
            Face::Tls,
            "tls-resumption-16",
            Handshakes,
            &[(Work::Handshakes, 16)],
        )
    },
    on(
        Face::Http2,
        "http2-echo-16b-100",
        Messages,
        &[(echo(16, 1), 100)],
    ),
    on(
        Face::Http2,
        "http2-echo-1k-100",
        Messages,
        &[(echo(1024, 1), 100)],
    ),
    on(
        Face::Http2,
        "http2-echo-64k-100",
        Messages,
        &[(echo(65_536, 1), 100)],
    ),
    on(
        Face::Http2,
        "http2-tunnel-16",
        Handshakes,
        &[(Work::Handshakes, 16)],
    ),
];

/// Latency beside as many tunnels as a status page may have; only of `wsplice` with and without
/// metrics.
pub const CROWDED: Scenario = plain(
    "latency-9600-8",
    Latency,
    &[(Work::Quiet, 9_600), (echo(16, 1), 8)],
);

pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
