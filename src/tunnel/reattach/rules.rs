//! Rules of reattachment: the decision at the moment of a loss.

use tokio::time::Instant;

use super::{history::History, refusal::ReattachRefusal, settings::Reattach};

/// State of a tunnel at the moment at which its upstream is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tunnel) struct Situation {
    /// Whether the bytes of a direction are not read as frames.
    pub(in crate::tunnel) is_opaque: bool,
    /// Whether the client has a part of a frame or message of the upstream.
    pub(in crate::tunnel) cuts_upstream_message: bool,
    /// Whether the upstream has a part of a frame or message of the client.
    pub(in crate::tunnel) cuts_client_message: bool,
    /// Whether frames had reserved bits that the agreement does not explain.
    pub(in crate::tunnel) has_reserved_bits: bool,
    /// Whether the messages that the next upstream would get first were too large to be kept.
    pub(in crate::tunnel) has_lost_replay: bool,
    /// Why the agreement of the endpoints forbids another upstream, if it does.
    pub(in crate::tunnel) agreement: Option<ReattachRefusal>,
}

/// Returns why the tunnel must not get another upstream after a loss, or `None` if it may.
pub(in crate::tunnel) fn refusal_after_loss(
    situation: &Situation,
    settings: &Reattach,
    history: &History,
    now: Instant,
) -> Option<ReattachRefusal> {
    let too_often = history.recent(now) >= settings.most_in_a_minute();
    let rules = [
        (
            history.has_just_replayed(now),
            ReattachRefusal::LostAfterReplay,
        ),
        (too_often, ReattachRefusal::TooOften),
    ];
    let broken = rules.iter().find(|(is_broken, _)| *is_broken);
    let by_history = broken.map(|(_, refusal)| *refusal);
    situation.broken_rule().or(by_history)
}

impl Situation {
    /// Returns why the tunnel must not get another upstream at this moment, or `None` if it may.
    pub(in crate::tunnel) fn broken_rule(&self) -> Option<ReattachRefusal> {
        let rules = [
            (self.is_opaque, ReattachRefusal::Opaque),
            (
                self.cuts_upstream_message,
                ReattachRefusal::UpstreamMessageCut,
            ),
            (self.cuts_client_message, ReattachRefusal::ClientMessageCut),
            (self.has_reserved_bits, ReattachRefusal::ReservedBits),
            (self.has_lost_replay, ReattachRefusal::ReplayTooLarge),
        ];
        let broken = rules.iter().find(|(is_broken, _)| *is_broken);
        broken.map(|(_, refusal)| *refusal).or(self.agreement)
    }

    /// Returns why the tunnel can get no other upstream at any moment, or `None` if it can.
    pub(in crate::tunnel) fn broken_lasting_rule(&self) -> Option<ReattachRefusal> {
        let between_messages = Self {
            cuts_upstream_message: false,
            cuts_client_message: false,
            ..*self
        };
        between_messages.broken_rule()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(situation: Situation) -> Option<ReattachRefusal> {
        let (settings, history) = (Reattach::new(), History::default());
        refusal_after_loss(&situation, &settings, &history, Instant::now())
    }

    #[test]
    fn a_tunnel_between_two_messages_may_get_another_upstream() {
        assert_eq!(check(Situation::default()), None);
    }

    #[test]
    fn every_rule_has_a_reason_of_its_own() {
        let quiet = Situation::default();
        let table = [
            (
                Situation {
                    is_opaque: true,
                    ..quiet
                },
                ReattachRefusal::Opaque,
            ),
            (
                Situation {
                    cuts_upstream_message: true,
                    ..quiet
                },
                ReattachRefusal::UpstreamMessageCut,
            ),
            (
                Situation {
                    cuts_client_message: true,
                    ..quiet
                },
                ReattachRefusal::ClientMessageCut,
            ),
            (
                Situation {
                    has_reserved_bits: true,
                    ..quiet
                },
                ReattachRefusal::ReservedBits,
            ),
            (
                Situation {
                    has_lost_replay: true,
                    ..quiet
                },
                ReattachRefusal::ReplayTooLarge,
            ),
            (
                Situation {
                    agreement: Some(ReattachRefusal::ContextTakeover),
                    ..quiet
                },
                ReattachRefusal::ContextTakeover,
            ),
        ];
        for (situation, expected) in table {
            assert_eq!(check(situation), Some(expected), "{situation:?}");
        }
    }

    #[test]
    fn a_cut_message_is_no_lasting_reason() {
        let cut = Situation {
            cuts_upstream_message: true,
            cuts_client_message: true,
            ..Situation::default()
        };
        assert_eq!(cut.broken_lasting_rule(), None);
        let opaque = Situation {
            is_opaque: true,
            ..cut
        };
        assert_eq!(opaque.broken_lasting_rule(), Some(ReattachRefusal::Opaque));
    }

    #[test]
    fn the_fourth_reattachment_within_a_minute_is_refused() {
        let start = Instant::now();
        let (settings, mut history) = (Reattach::new(), History::default());
        for secs in [0, 10, 20] {
            let now = start + Duration::from_secs(secs);
            assert_eq!(
                refusal_after_loss(&Situation::default(), &settings, &history, now),
                None
            );
            history.record(now);
        }
        let at = |secs| {
            let now = start + Duration::from_secs(secs);
            refusal_after_loss(&Situation::default(), &settings, &history, now)
        };
        assert_eq!(at(59), Some(ReattachRefusal::TooOften));
        assert_eq!(at(60), None);
    }
    #[test]
    fn a_loss_within_five_seconds_of_a_replay_is_refused() {
        let start = Instant::now();
        let (settings, mut history) = (Reattach::new(), History::default());
        history.record(start);
        history.record_replay(start);
        let at = |secs| {
            let now = start + Duration::from_secs(secs);
            refusal_after_loss(&Situation::default(), &settings, &history, now)
        };
        assert_eq!(at(4), Some(ReattachRefusal::LostAfterReplay));
        assert_eq!(at(5), None);
    }
}
