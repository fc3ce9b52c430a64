//! Signals: the meaning of events for a policy.

use std::time::Duration;

use super::event::{EventOutcome, EventSource, HealthEventKind};

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
/// use wsplice::health::{HealthEventKind, EventOutcome, EventFilter};
///
/// let ended = HealthEventKind::TunnelEnded { lifetime: Duration::from_secs(1) };
/// assert_eq!(EventFilter::all().read(&ended), EventOutcome::Neutral);
///
/// let signals = EventFilter::all().min_tunnel_age(Duration::from_secs(5));
/// assert_eq!(signals.read(&ended), EventOutcome::Bad);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct EventFilter {
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

impl EventFilter {
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
    pub fn read(&self, kind: &HealthEventKind) -> EventOutcome {
        if self.counted(kind.source()) == Counted::No {
            return EventOutcome::Neutral;
        }
        match kind {
            HealthEventKind::TunnelEnded { lifetime } if *lifetime < self.min_tunnel_age => {
                EventOutcome::Bad
            }
            _ => kind.outcome(),
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

impl Default for EventFilter {
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
        let read = |signals: EventFilter| {
            [&probe, &handshake, &tunnel].map(|kind| signals.read(kind) != EventOutcome::Neutral)
        };
        assert_eq!(read(EventFilter::all()), [true, true, true]);
        assert_eq!(read(EventFilter::probes()), [true, false, false]);
        assert_eq!(read(EventFilter::handshakes()), [false, true, false]);
        assert_eq!(read(EventFilter::passive()), [false, true, true]);
    }

    #[test]
    fn a_tunnel_that_ends_early_is_bad_where_it_is_asked_for() {
        let age = Duration::from_secs(5);
        let ended = |lifetime| HealthEventKind::TunnelEnded { lifetime };
        let signals = EventFilter::handshakes().min_tunnel_age(age);
        let just_before = age - Duration::from_nanos(1);
        assert_eq!(signals.read(&ended(just_before)), EventOutcome::Bad);
        assert_eq!(signals.read(&ended(age)), EventOutcome::Neutral);
        assert_eq!(
            EventFilter::all().read(&ended(Duration::ZERO)),
            EventOutcome::Neutral
        );
    }
}
