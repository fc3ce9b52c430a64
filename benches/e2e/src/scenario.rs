//! The measured scenarios.

use crate::{load::Work, upstream::SOURCE_MESSAGE};

pub struct Scenario {
    pub name: &'static str,
    /// The connections, by their work.
    pub groups: &'static [(Work, usize)],
    pub yields: Yields,
}

/// The figures that a scenario yields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Yields {
    Messages,
    Volume,
    Latency,
    Handshakes,
}

const fn echo(payload: usize, depth: usize) -> Work {
    Work::Echo { payload, depth }
}

/// The timed scenarios, in the order in which they run.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "echo-16b-64",
        groups: &[(echo(16, 1), 64)],
        yields: Yields::Messages,
    },
    Scenario {
        name: "echo-16b-512",
        groups: &[(echo(16, 1), 512)],
        yields: Yields::Messages,
    },
    Scenario {
        name: "echo-1k-64",
        groups: &[(echo(1024, 1), 64)],
        yields: Yields::Messages,
    },
    Scenario {
        name: "echo-1k-512",
        groups: &[(echo(1024, 1), 512)],
        yields: Yields::Messages,
    },
    Scenario {
        name: "echo-64k-64",
        groups: &[(echo(65_536, 1), 64)],
        yields: Yields::Messages,
    },
    Scenario {
        name: "echo-16b-x16-64",
        groups: &[(echo(16, 16), 64)],
        yields: Yields::Messages,
    },
    Scenario {
        name: "down-1m",
        groups: &[(Work::Down, 8)],
        yields: Yields::Volume,
    },
    Scenario {
        name: "up-1m",
        groups: &[(
            Work::Up {
                payload: SOURCE_MESSAGE,
            },
            8,
        )],
        yields: Yields::Volume,
    },
    Scenario {
        name: "latency-1000-8",
        groups: &[(Work::Quiet, 1000), (echo(16, 1), 8)],
        yields: Yields::Latency,
    },
    Scenario {
        name: "handshake-16",
        groups: &[(Work::Handshakes, 16)],
        yields: Yields::Handshakes,
    },
];

/// Latency beside as many tunnels as a status page may have; only of `wsplice` with and without
/// metrics.
pub const CROWDED: Scenario = Scenario {
    name: "latency-9600-8",
    groups: &[(Work::Quiet, 9_600), (echo(16, 1), 8)],
    yields: Yields::Latency,
};

pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
