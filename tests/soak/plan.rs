//! One life of a client: how it connects, what it sends, and how it ends.

use std::time::Duration;

/// How a client reaches the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Tls,
    /// A stream of an HTTP/2 connection of its own (RFC 8441).
    Http2,
}

impl Kind {
    pub(crate) fn of(number: usize) -> Self {
        [Self::Tcp, Self::Tls, Self::Http2][number % 3]
    }
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closes.
    Close,
    /// The client's connection is reset between two messages.
    Reset,
    /// The client's connection ends inside a message.
    CutInside,
    /// The client sends bytes that are no frame.
    Garbage,
    /// The upstream closes.
    UpstreamCloses,
    /// The upstream's connection is reset.
    UpstreamCrashes,
    /// The upstream refuses the handshake.
    Refused,
}

impl End {
    pub(crate) const ALL: [Self; 7] = [
        Self::Close,
        Self::Reset,
        Self::CutInside,
        Self::Garbage,
        Self::UpstreamCloses,
        Self::UpstreamCrashes,
        Self::Refused,
    ];

    /// The path that the client requests.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Refused => "/ws/refuse",
            _ => "/ws/echo",
        }
    }
}

/// Plan of one life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) end: End,
    pub(crate) messages: u32,
    /// Mean pause between two messages.
    pub(crate) pause: Duration,
}

impl Plan {
    /// Half of the lives end in order.
    pub(crate) fn random() -> Self {
        let end = match fastrand::bool() {
            true => End::Close,
            false => End::ALL[fastrand::usize(..End::ALL.len())],
        };
        Self {
            end,
            messages: fastrand::u32(0..24),
            pause: Duration::from_millis(fastrand::u64(0..3000)),
        }
    }
}

/// A message: small as a rule, now and then larger than any buffer on the way.
pub(crate) fn payload() -> Vec<u8> {
    let len = match fastrand::u32(..100) {
        0 => fastrand::usize(..300_000),
        1..10 => fastrand::usize(..20_000),
        _ => fastrand::usize(..200),
    };
    let mut payload = vec![0; len];
    fastrand::fill(&mut payload);
    payload
}
