//! Signals: the meaning of events for a policy.

use std::time::Duration;

use super::event::{EventSource, HealthEventKind, Signal};

/// Events that a policy counts, and their meaning.
///
/// # Defaults
///
/// | method | default | why |
/// |---|---|---|
/// | [`default`](Self::default) | [`all`](Self::all) | each policy chooses its own default |
/// | [`min_tunnel_age`](Self::min_tunnel_age) | zero | a close frame is an orderly end |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::health::{HealthEventKind, Signal, Signals};
///
/// let ended = HealthEventKind::TunnelEnded { lifetime: Duration::from_secs(1) };
/// assert_eq!(Signals::all().read(&ended), Signal::Neutral);
///
/// let signals = Signals::all().min_tunnel_age(Duration::from_secs(5));
/// assert_eq!(signals.read(&ended), Signal::Bad);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Signals {
    probes: Counted,
    handshakes: Counted,
    tunnels: Counted,
    min_tunnel_age: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Yes,
    No,
}

impl Signals {
    /// Counts every event.
    pub const fn all() -> Self {
        Self {
            probes: Counted::Yes,
            handshakes: Counted::Yes,
            tunnels: Counted::Yes,
            min_tunnel_age: Duration::ZERO,
        }
    }

    /// Counts the events of probes.
    pub const fn probes() -> Self {
        Self {
            probes: Counted::Yes,
            ..Self::none()
        }
    }

    /// Counts the events of clients' handshakes.
    pub const fn handshakes() -> Self {
        Self {
            handshakes: Counted::Yes,
            ..Self::none()
        }
    }

    /// Counts the events of clients' handshakes and tunnels: all but probes.
    ///
    /// Some servers end every tunnel without a close frame, which looks like a crash.
    pub const fn passive() -> Self {
        Self {
            probes: Counted::No,
            ..Self::all()
        }
    }

    /// Counts a tunnel that the upstream closed in order before this age as a failure.
    pub const fn min_tunnel_age(mut self, age: Duration) -> Self {
        self.min_tunnel_age = age;
        self.tunnels = Counted::Yes;
        self
    }

    /// Returns the meaning of an event. An event that is not counted is neutral.
    #[must_use]
    pub fn read(&self, kind: &HealthEventKind) -> Signal {
        if self.counted(kind.source()) == Counted::No {
            return Signal::Neutral;
        }
        match kind {
            HealthEventKind::TunnelEnded { lifetime } if *lifetime < self.min_tunnel_age => {
                Signal::Bad
            }
            _ => kind.signal(),
        }
    }

    /// Whether probes are counted.
    #[must_use]
    pub fn count_probes(&self) -> bool {
        self.probes == Counted::Yes
    }

    const fn none() -> Self {
        Self {
            probes: Counted::No,
            handshakes: Counted::No,
            tunnels: Counted::No,
            min_tunnel_age: Duration::ZERO,
        }
    }

    const fn counted(&self, source: EventSource) -> Counted {
        match source {
            EventSource::Probe => self.probes,
            EventSource::Handshake => self.handshakes,
            EventSource::Tunnel => self.tunnels,
        }
    }
}

impl Default for Signals {
    fn default() -> Self {
        Self::all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn ignored_events_are_neutral() {
        let probe = HealthEventKind::ProbePassed {
            latency: Duration::ZERO,
        };
        let handshake = HealthEventKind::ConnectFailed(ErrorKind::Connect);
        let tunnel = HealthEventKind::TunnelLost {
            lifetime: Duration::ZERO,
        };
        let read = |signals: Signals| {
            [&probe, &handshake, &tunnel].map(|kind| signals.read(kind) != Signal::Neutral)
        };
        assert_eq!(read(Signals::all()), [true, true, true]);
        assert_eq!(read(Signals::probes()), [true, false, false]);
        assert_eq!(read(Signals::handshakes()), [false, true, false]);
        assert_eq!(read(Signals::passive()), [false, true, true]);
    }

    #[test]
    fn a_tunnel_that_ends_early_is_bad_where_it_is_asked_for() {
        let age = Duration::from_secs(5);
        let ended = |lifetime| HealthEventKind::TunnelEnded { lifetime };
        let signals = Signals::handshakes().min_tunnel_age(age);
        let just_before = age - Duration::from_nanos(1);
        assert_eq!(signals.read(&ended(just_before)), Signal::Bad);
        assert_eq!(signals.read(&ended(age)), Signal::Neutral);
        assert_eq!(Signals::all().read(&ended(Duration::ZERO)), Signal::Neutral);
    }
}
