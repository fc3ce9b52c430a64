//! Evidence: the clients and paths that bad news of an upstream comes from. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::{error::ErrorKind, instant::saturating_add};

use super::{
    event::{EventOutcome, HealthEvent, HealthEventKind},
    probe::ProbeFailure,
};

/// Time for which bad news of clients counts as evidence.
const EVIDENCE_TTL: Duration = Duration::from_secs(60);

/// Time for which a success speaks for an upstream. It is longer, as an upstream that others are
/// preferred to has few successes: they must not run out because of the bad news itself.
const SUCCESS_TTL: Duration = Duration::from_secs(300);

/// Number of clients whose bad news is a verdict on an upstream.
const SEVERAL_CLIENTS: usize = 3;

/// Number of paths of one client whose bad news lowers the preference for longer.
const SEVERAL_PATHS: usize = 2;

/// How far the bad news of an upstream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// One client on one path: the upstream is less preferred for a moment.
    OnePath,
    /// One or two clients on several paths, or several clients on the one path of theirs while
    /// others succeed: the upstream is less preferred for the time of an
    /// ejection.
    SeveralPaths,
    /// Several clients, a failing probe, failing connects, or a reason of the policy's own: the
    /// upstream may be ejected.
    Verdict,
}

/// Evidence against one upstream.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    clients: Recent<SEVERAL_CLIENTS>,
    paths: Recent<SEVERAL_PATHS>,
    /// Paths of successes.
    good_paths: Recent<SEVERAL_PATHS>,
    is_probe_failing: bool,
    /// Time of the first probe that passed since one failed.
    passing_since: Option<Instant>,
    is_connect_failing: bool,
}

impl Evidence {
    pub(super) fn observe(&mut self, event: &HealthEvent) {
        let outcome = event.kind.outcome();
        match &event.kind {
            HealthEventKind::ProbePassed { .. } => {
                self.is_probe_failing = false;
                self.passing_since.get_or_insert(event.at);
            }
            HealthEventKind::ProbeFailed { .. } if outcome == EventOutcome::Bad => {
                self.is_probe_failing = true;
                self.passing_since = None;
            }
            _ => {}
        }
        match connected(&event.kind) {
            Some(Connected::Yes) => self.is_connect_failing = false,
            Some(Connected::No) => self.is_connect_failing = true,
            None => {}
        }
        let is_connect = matches!(event.kind, HealthEventKind::ConnectFailed(_));
        match (event.origin, outcome) {
            (Some(origin), EventOutcome::Bad) if !is_connect => {
                self.clients.note(origin.client, event.at);
                self.paths.note(origin.path, event.at);
            }
            (Some(origin), EventOutcome::Good) => self.good_paths.note(origin.path, event.at),
            _ => {}
        }
    }

    /// Returns the weight of a policy's finding that the upstream is unhealthy.
    pub(super) fn weight(&self, now: Instant) -> Weight {
        let clients = self.clients.count(now);
        let paths = self.paths.count(now);
        let is_certain = self.is_probe_failing || self.is_connect_failing;
        if is_certain || clients == 0 {
            Weight::Verdict
        } else if clients >= SEVERAL_CLIENTS {
            match paths < SEVERAL_PATHS && self.is_another_path_good(now) {
                true => Weight::SeveralPaths,
                false => Weight::Verdict,
            }
        } else if paths >= SEVERAL_PATHS {
            Weight::SeveralPaths
        } else {
            Weight::OnePath
        }
    }

    /// Whether a path has succeeded on which nothing has failed.
    fn is_another_path_good(&self, now: Instant) -> bool {
        let mut good = self.good_paths.keys(now, SUCCESS_TTL);
        good.any(|good| self.paths.keys(now, EVIDENCE_TTL).all(|bad| bad != good))
    }

    /// Whether clients' news alone speaks against the upstream.
    pub(super) const fn is_of_clients_alone(&self) -> bool {
        !self.is_probe_failing && !self.is_connect_failing
    }

    /// Returns the time since which probes have passed.
    pub(super) const fn passing_since(&self) -> Option<Instant> {
        self.passing_since
    }

    pub(super) const fn is_probe_failing(&self) -> bool {
        self.is_probe_failing
    }
}

/// Whether a connection to the upstream was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connected {
    Yes,
    No,
}

/// Returns whether the event shows that a connection was made; `None` if it does not.
pub(super) const fn connected(kind: &HealthEventKind) -> Option<Connected> {
    match kind {
        HealthEventKind::ConnectFailed(_) => Some(Connected::No),
        HealthEventKind::ProbePassed { .. }
        | HealthEventKind::Accepted { .. }
        | HealthEventKind::Refused { .. }
        | HealthEventKind::Forwarded { .. } => Some(Connected::Yes),
        HealthEventKind::HandshakeFailed(kind) => match kind {
            ErrorKind::AttemptsTimeout => None,
            _ => Some(Connected::Yes),
        },
        HealthEventKind::ProbeFailed { reason } => match reason {
            ProbeFailure::Refused(_)
            | ProbeFailure::NoSubprotocol
            | ProbeFailure::UnexpectedStatus(_)
            | ProbeFailure::UnexpectedBody
            | ProbeFailure::UnexpectedText
            | ProbeFailure::Closed(_)
            | ProbeFailure::Violation(_) => Some(Connected::Yes),
            _ => None,
        },
        HealthEventKind::TunnelLost { .. } | HealthEventKind::TunnelEnded { .. } => None,
    }
}

/// The last few different keys, each with the time at which it was last noted.
#[derive(Clone, Debug)]
struct Recent<const N: usize>([Option<(u32, Instant)>; N]);

impl<const N: usize> Recent<N> {
    fn note(&mut self, key: u32, at: Instant) {
        let known = self
            .0
            .iter()
            .position(|entry| entry.is_some_and(|(known, _)| known == key));
        // `None` is less than any time.
        let oldest = (0..N).min_by_key(|index| self.0.get(*index).copied().flatten().map(|e| e.1));
        if let Some(entry) = known.or(oldest).and_then(|index| self.0.get_mut(index)) {
            *entry = Some((key, at));
        }
    }

    fn count(&self, now: Instant) -> usize {
        self.keys(now, EVIDENCE_TTL).count()
    }

    fn keys(&self, now: Instant, ttl: Duration) -> impl Iterator<Item = u32> {
        let entries = self.0.iter().flatten();
        let fresh = entries.filter(move |(_, at)| now <= saturating_add(*at, ttl));
        fresh.map(|(key, _)| *key)
    }
}

impl<const N: usize> Default for Recent<N> {
    fn default() -> Self {
        Self([None; N])
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::{
        error::Error,
        upstream::health::{
            event_origin::EventOrigin,
            testing::{accepted, connect_failed, probe_failed, probe_passed, secs},
        },
    };

    fn refused() -> HealthEventKind {
        HealthEventKind::Refused {
            status: StatusCode::BAD_GATEWAY,
        }
    }

    /// Returns the weight of these failures of clients, each at its second.
    fn weight_of(news: &[(u64, &str, &str)], now: u64) -> Weight {
        let mut evidence = Evidence::default();
        for (at, client, path) in news {
            let event = HealthEvent::new(secs(*at), refused());
            let client = client.parse().ok();
            evidence.observe(&event.from(EventOrigin::new(client, path)));
        }
        evidence.weight(secs(now))
    }

    #[test]
    fn one_clients_news_on_one_path_is_no_verdict_and_that_of_three_is() {
        use Weight::{OnePath, SeveralPaths, Verdict};
        let (a, b, c) = ("10.0.0.1", "10.0.0.2", "10.0.0.3");
        for (name, news, now, weight) in [
            ("thirty times", vec![(0, a, "/x"); 30], 1, OnePath),
            (
                "two paths",
                vec![(0, a, "/x"), (0, a, "/y")],
                1,
                SeveralPaths,
            ),
            ("two clients", vec![(0, a, "/x"), (0, b, "/x")], 1, OnePath),
            (
                "three clients",
                vec![(0, a, "/x"), (1, b, "/x"), (2, c, "/x")],
                3,
                Verdict,
            ),
            (
                "three clients, the first long ago",
                vec![(0, a, "/x"), (60, b, "/x"), (61, c, "/x")],
                61,
                OnePath,
            ),
            (
                "one client of IPv6 with many addresses",
                vec![
                    (0, "2001:db8::1", "/x"),
                    (0, "2001:db8::2", "/x"),
                    (0, "2001:db8::3", "/x"),
                ],
                1,
                OnePath,
            ),
            (
                "the same client in both notations",
                vec![(0, a, "/x"), (0, "::ffff:10.0.0.1", "/x"), (0, b, "/x")],
                1,
                OnePath,
            ),
            (
                "clients without address",
                vec![(0, "", "/x"); 3],
                1,
                OnePath,
            ),
        ] {
            assert_eq!(weight_of(&news, now), weight, "{name}");
        }
    }

    #[test]
    fn a_failing_probe_or_connect_is_a_verdict_whoever_asked() {
        let origin = EventOrigin::new(None, "/x");
        let mut evidence = Evidence::default();
        let mut after = |kind: HealthEventKind| {
            let event = HealthEvent::new(secs(0), kind).from(origin);
            evidence.observe(&event);
            evidence.weight(secs(0))
        };
        assert_eq!(after(refused()), Weight::OnePath);
        assert_eq!(after(connect_failed()), Weight::Verdict);
        // A passing connect refutes failed connects, and nothing else.
        assert_eq!(after(accepted()), Weight::OnePath);
        assert_eq!(after(probe_failed()), Weight::Verdict);
        assert_eq!(after(accepted()), Weight::Verdict);
        assert_eq!(after(probe_passed()), Weight::OnePath);
    }

    /// A request that no upstream survives fails everywhere, however many clients send it.
    #[test]
    fn several_clients_on_one_path_are_no_verdict_while_another_path_succeeds() {
        let clients = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
        let mut evidence = Evidence::default();
        let mut after = |at, kind: HealthEventKind, client: &str, path| {
            let origin = EventOrigin::new(client.parse().ok(), path);
            evidence.observe(&HealthEvent::new(secs(at), kind).from(origin));
            evidence.weight(secs(at))
        };
        after(0, accepted(), "10.0.0.9", "/ws");
        let poisoned = clients.map(|client| after(1, refused(), client, "/poison"));
        assert_eq!(poisoned[2], Weight::SeveralPaths);
        // As soon as the other path fails too, or its success is long ago.
        assert_eq!(after(2, refused(), clients[0], "/ws"), Weight::Verdict);
        after(60, accepted(), "10.0.0.9", "/ws");
        let alone = |evidence: &mut Evidence, at| {
            for client in clients {
                let origin = EventOrigin::new(client.parse().ok(), "/poison");
                evidence.observe(&HealthEvent::new(secs(at), refused()).from(origin));
            }
            evidence.weight(secs(at))
        };
        // Others are preferred to a doubted upstream, so successes are rare there.
        assert_eq!(alone(&mut evidence, 121), Weight::SeveralPaths);
        assert_eq!(alone(&mut evidence, 360), Weight::SeveralPaths);
        assert_eq!(alone(&mut evidence, 361), Weight::Verdict);
    }

    #[test]
    fn a_policy_with_a_reason_of_its_own_is_believed() {
        assert_eq!(weight_of(&[], 0), Weight::Verdict);
    }

    #[test]
    fn a_probe_that_fails_for_the_proxys_own_reason_says_nothing() {
        let shortage = ProbeFailure::Failed(Error::new(ErrorKind::LocalShortage));
        let mut evidence = Evidence::default();
        for (at, kind) in [
            (0, probe_passed()),
            (1, HealthEventKind::ProbeFailed { reason: shortage }),
        ] {
            evidence.observe(&HealthEvent::new(secs(at), kind));
        }
        assert!(!evidence.is_probe_failing() && evidence.is_of_clients_alone());
        assert_eq!(evidence.passing_since(), Some(secs(0)));
        evidence.observe(&HealthEvent::new(secs(2), probe_failed()));
        assert!(evidence.is_probe_failing() && !evidence.is_of_clients_alone());
        assert_eq!(evidence.passing_since(), None);
    }

    #[test]
    fn a_failed_connect_is_not_the_news_of_its_client() {
        let origin = EventOrigin::new("10.0.0.1".parse().ok(), "/x");
        let mut evidence = Evidence::default();
        evidence.observe(&HealthEvent::new(secs(0), connect_failed()).from(origin));
        evidence.observe(&HealthEvent::new(secs(1), accepted()).from(origin));
        assert_eq!(evidence.weight(secs(1)), Weight::Verdict, "of no client");
    }

    #[test]
    fn a_good_path_does_not_excuse_two_bad_ones() {
        let mut evidence = Evidence::default();
        let news = [
            (accepted(), "10.0.0.9", "/good"),
            (refused(), "10.0.0.1", "/x"),
            (refused(), "10.0.0.2", "/x"),
            (refused(), "10.0.0.3", "/y"),
        ];
        for (kind, client, path) in news {
            let origin = EventOrigin::new(client.parse().ok(), path);
            evidence.observe(&HealthEvent::new(secs(0), kind).from(origin));
        }
        assert_eq!(evidence.weight(secs(0)), Weight::Verdict);
    }

    #[test]
    fn whatever_comes_over_a_connection_shows_that_it_was_made() {
        let status = StatusCode::BAD_GATEWAY;
        let probe = |reason| HealthEventKind::ProbeFailed { reason };
        let lifetime = Duration::ZERO;
        for (kind, shown) in [
            (probe(ProbeFailure::Refused(status)), Some(Connected::Yes)),
            (probe(ProbeFailure::UnexpectedBody), Some(Connected::Yes)),
            (probe(ProbeFailure::other("odd")), None),
            (
                HealthEventKind::HandshakeFailed(ErrorKind::NoResponse),
                Some(Connected::Yes),
            ),
            (
                HealthEventKind::HandshakeFailed(ErrorKind::AttemptsTimeout),
                None,
            ),
            (connect_failed(), Some(Connected::No)),
            (HealthEventKind::TunnelLost { lifetime }, None),
        ] {
            assert_eq!(connected(&kind), shown, "{kind:?}");
        }
    }
}
