//! Filter of the frames that concern one upstream alone.

use std::sync::Arc;

use crate::{
    frame::{CloseCode, ControlFrame, OpCode},
    tunnel::pair::LegId,
};

use super::{
    delivery::Delivery,
    loss::Loss,
    recording::Recording,
    refusal::ReattachRefusal,
    settings::Reattach,
    swallow::{Swallow, UpstreamContext},
    tap::ClientMessage,
};

/// Filter of the frames of a tunnel that may get another upstream.
///
/// Pings and pongs belong together in pairs, and a pair must not have an upstream and its successor
/// in it: the client gets a pong for each of its pings, and an upstream none for pings that it did
/// not send. Where the settings ask for it, the filter also reads the client's messages that the
/// upstream has taken, and removes the first messages of the next one.
#[derive(Debug)]
pub(in crate::tunnel) struct Filter {
    settings: Arc<Reattach>,
    /// The newest ping of the client that the upstream has not answered. A pong answers the earlier
    /// ones too (RFC 6455 §5.5.3).
    unanswered: Option<Box<ControlFrame>>,
    /// The newest ping of the client that the proxy has to answer.
    owed: Option<Box<ControlFrame>>,
    /// Pongs that the client owes to lost upstreams.
    stale_pongs: u8,
    phase: Phase,
    delivery: Option<Box<Delivery>>,
    swallow: Option<Box<Swallow>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Attached,
    /// The upstream has a close frame of ours, and may still say something.
    Left,
    Detached,
    /// The tunnel gets no other upstream. All that is left to do is to keep first messages from the client.
    Ended,
    /// The first messages of the upstream cannot be kept from the client, so it gets nothing of this one.
    Unfit,
}

/// Fate of a control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tunnel) enum Fate {
    Pass,
    Swallow,
    /// The frame is kept from an upstream that was left, and answers a ping of this one.
    SwallowAnswer,
    /// The frame waits until it is decided whether the tunnel gets another upstream.
    Withhold(CloseCode),
}

impl Filter {
    /// The filter of a tunnel that has an upstream.
    pub(in crate::tunnel) fn new(settings: Arc<Reattach>) -> Self {
        Self {
            delivery: Delivery::of(&settings),
            swallow: None,
            settings,
            unanswered: None,
            owed: None,
            stale_pongs: 0,
            phase: Phase::Attached,
        }
    }

    pub(in crate::tunnel) fn settings(&self) -> &Reattach {
        &self.settings
    }

    /// Decides about a whole control frame from this leg that does not answer a ping of ours.
    /// `answers_newest`: the frame is a pong that answers the newest ping of the upstream.
    pub(in crate::tunnel) fn decide(
        &mut self,
        from: LegId,
        frame: &ControlFrame,
        answers_newest: impl FnOnce() -> bool,
    ) -> Fate {
        match (from, frame.opcode(), self.phase) {
            (LegId::Client, OpCode::PING, Phase::Attached) => {
                self.unanswered = Some(Box::new(*frame));
                Fate::Pass
            }
            (LegId::Client, OpCode::PING, Phase::Left | Phase::Detached) => {
                self.unanswered = None;
                self.owed = Some(Box::new(*frame));
                Fate::Swallow
            }
            (LegId::Client, OpCode::PONG, Phase::Detached) => {
                self.stale_pongs = self.stale_pongs.saturating_sub(1);
                Fate::Swallow
            }
            (LegId::Client, OpCode::PONG, phase) => match self.client_pong(answers_newest) {
                Fate::Pass if phase == Phase::Left => Fate::SwallowAnswer,
                fate => fate,
            },
            (_, _, Phase::Ended | Phase::Unfit) => Fate::Pass,
            (LegId::Upstream, OpCode::CLOSE, phase) => {
                let code = frame.close_code().unwrap_or(CloseCode::NO_STATUS);
                match phase == Phase::Left || self.settings.covers(Loss::Closed(code)) {
                    true => Fate::Withhold(code),
                    false => Fate::Pass,
                }
            }
            _ => Fate::Pass,
        }
    }

    fn client_pong(&mut self, answers_newest: impl FnOnce() -> bool) -> Fate {
        if self.stale_pongs == 0 {
            return Fate::Pass;
        }
        // Pongs come in the order of the pings, so none of the earlier ones is to come any more.
        if answers_newest() {
            self.stale_pongs = 0;
            return Fate::Pass;
        }
        self.stale_pongs -= 1;
        Fate::Swallow
    }

    /// Notes that the tunnel gets no other upstream.
    pub(in crate::tunnel) fn end(&mut self) {
        if self.phase != Phase::Unfit {
            self.phase = Phase::Ended;
        }
    }

    /// Whether the tunnel gets no other upstream.
    pub(in crate::tunnel) const fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended | Phase::Unfit)
    }

    /// Whether frames of one side must still be kept from the other when the tunnel gets no other
    /// upstream.
    pub(in crate::tunnel) const fn outlives_reattachment(&self) -> bool {
        self.swallow.is_some() || self.expects_stale_pong()
    }

    /// Whether the client owes a pong to an upstream that was lost.
    pub(in crate::tunnel) const fn expects_stale_pong(&self) -> bool {
        self.stale_pongs > 0
    }

    /// Notes that the upstream has answered all pings of the client.
    pub(in crate::tunnel) fn settle_pings(&mut self) {
        self.unanswered = None;
    }

    /// Notes that the upstream has a close frame of ours. Its own close frame ends the use of it,
    /// whatever the code.
    pub(in crate::tunnel) const fn leave(&mut self) {
        self.phase = Phase::Left;
    }

    /// Notes that the upstream is lost, which has not been sent a pong for this many pings.
    pub(in crate::tunnel) fn detach(&mut self, stale_pongs: u8) {
        self.phase = Phase::Detached;
        self.stale_pongs = self.stale_pongs.saturating_add(stale_pongs);
        if let Some(unanswered) = self.unanswered.take() {
            self.owed = Some(unanswered);
        }
        self.swallow = None;
    }

    /// Notes that the tunnel has another upstream, and that the client has had this many messages.
    pub(in crate::tunnel) fn attach(&mut self, received: u64, context: UpstreamContext) {
        self.phase = Phase::Attached;
        let (messages, max_bytes) = self.settings.swallowed();
        let messages = messages.min(usize::try_from(received).unwrap_or(usize::MAX));
        self.swallow = Swallow::new(messages, max_bytes, context);
        if let Some(delivery) = &mut self.delivery {
            delivery.restart();
        }
    }

    /// Reads bytes of the client that the upstream has taken.
    #[inline]
    pub(in crate::tunnel) fn note_delivered(&mut self, bytes: &[u8]) {
        if let Some(delivery) = &mut self.delivery {
            delivery.read(bytes);
        }
    }

    /// Takes the messages that are to be shown to the host.
    #[inline]
    pub(in crate::tunnel) fn take_messages(&mut self) -> Vec<ClientMessage> {
        let delivery = self.delivery.as_mut();
        delivery.map_or_else(Vec::new, |delivery| delivery.take_messages())
    }

    /// Returns the frames that the next upstream gets first, each masked with a key of its own.
    pub(in crate::tunnel) fn replay(&self, key: impl FnMut() -> [u8; 4]) -> Vec<u8> {
        let recording = self.delivery.as_ref().and_then(|it| it.recording());
        recording.map_or_else(Vec::new, |recording| recording.replay(key))
    }

    /// Whether the messages that the next upstream would get first were too large to be kept.
    pub(in crate::tunnel) fn has_lost_replay(&self) -> bool {
        let recording = self.delivery.as_ref().and_then(|it| it.recording());
        recording.is_some_and(Recording::is_over_limit)
    }

    /// Removes messages that the client must not see from the next bytes of the upstream, and returns
    /// the number of bytes that are left at the beginning.
    ///
    /// # Errors
    ///
    /// When the client cannot go on with this upstream.
    #[inline]
    pub(in crate::tunnel) fn swallow(
        &mut self,
        chunk: &mut [u8],
    ) -> Result<usize, ReattachRefusal> {
        let Some(swallow) = &mut self.swallow else {
            return Ok(chunk.len());
        };
        if self.phase == Phase::Unfit {
            return Ok(0);
        }
        let has_ended = self.phase == Phase::Ended;
        let kept = match swallow.remove(chunk) {
            Ok(kept) => kept,
            Err(refusal) => {
                self.phase = Phase::Unfit;
                return if has_ended { Ok(0) } else { Err(refusal) };
            }
        };
        if swallow.is_over() {
            self.swallow = None;
        }
        Ok(kept)
    }

    /// Returns the pong that the proxy owes the client, once.
    pub(in crate::tunnel) fn take_owed_pong(&mut self) -> Option<ControlFrame> {
        self.owed.take()?.answer()
    }

    /// Returns whether the proxy owes the client a pong.
    pub(in crate::tunnel) const fn owes_pong(&self) -> bool {
        self.owed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: LegId = LegId::Client;
    const UPSTREAM: LegId = LegId::Upstream;

    fn ping(payload: &[u8]) -> ControlFrame {
        ControlFrame::new(OpCode::PING, payload).unwrap()
    }

    fn pong(payload: &[u8]) -> ControlFrame {
        ControlFrame::new(OpCode::PONG, payload).unwrap()
    }

    fn filter() -> Filter {
        Filter::new(Arc::new(Reattach::new()))
    }

    fn decide(filter: &mut Filter, from: LegId, frame: &ControlFrame) -> Fate {
        filter.decide(from, frame, || false)
    }

    #[test]
    fn a_ping_that_the_lost_upstream_has_not_answered_is_answered_by_the_proxy() {
        let mut filter = filter();
        assert_eq!(decide(&mut filter, CLIENT, &ping(b"1")), Fate::Pass);
        filter.detach(0);
        assert_eq!(filter.take_owed_pong(), Some(pong(b"1")));
        assert_eq!(filter.take_owed_pong(), None);
        filter.attach(0, UpstreamContext::Kept);

        assert_eq!(decide(&mut filter, CLIENT, &ping(b"2")), Fate::Pass);
        filter.settle_pings();
        filter.detach(0);
        assert!(!filter.owes_pong());
    }

    #[test]
    fn while_detached_pings_are_answered_and_pongs_swallowed() {
        let mut filter = filter();
        filter.detach(1);
        assert_eq!(decide(&mut filter, CLIENT, &pong(b"old")), Fate::Swallow);
        assert_eq!(decide(&mut filter, CLIENT, &ping(b"1")), Fate::Swallow);
        assert_eq!(decide(&mut filter, CLIENT, &ping(b"2")), Fate::Swallow);
        assert_eq!(
            filter.take_owed_pong(),
            Some(pong(b"2")),
            "the newest alone"
        );
        let close = ControlFrame::close(CloseCode::SERVICE_RESTART, "");
        assert_eq!(decide(&mut filter, CLIENT, &close), Fate::Pass);
        filter.attach(0, UpstreamContext::Kept);
        assert_eq!(decide(&mut filter, CLIENT, &pong(b"new")), Fate::Pass);
    }

    #[test]
    fn a_client_gets_nothing_of_an_upstream_whose_first_message_is_too_large_when_the_tunnel_ends()
    {
        let settings = Reattach::new().swallow(1).max_swallowed(2);
        let mut filter = Filter::new(Arc::new(settings));
        filter.attach(1, UpstreamContext::None);
        filter.end();
        let mut frame = *b"\x81\x04\x81\x01ab";
        let (start, rest) = frame.split_at_mut(3);
        assert_eq!(filter.swallow(start), Ok(0));
        assert_eq!(filter.swallow(rest), Ok(0), "the payload is no frame");
        let mut next = *b"\x81\x89\x00";
        assert_eq!(filter.swallow(&mut next), Ok(0), "no ping is in it");
        assert!(filter.outlives_reattachment());
    }

    #[test]
    fn an_upstream_that_was_left_may_answer_earlier_pings_and_its_close_frame_waits() {
        let mut filter = filter();
        assert_eq!(decide(&mut filter, CLIENT, &ping(b"before")), Fate::Pass);
        filter.leave();
        assert!(!filter.owes_pong(), "the upstream may answer it");
        let close = ControlFrame::close(CloseCode::NORMAL, "");
        let withheld = Fate::Withhold(CloseCode::NORMAL);
        assert_eq!(decide(&mut filter, UPSTREAM, &close), withheld);
        assert_eq!(decide(&mut filter, UPSTREAM, &pong(b"before")), Fate::Pass);
        let answer = decide(&mut filter, CLIENT, &pong(b"old"));
        assert_eq!(answer, Fate::SwallowAnswer);
        assert_eq!(decide(&mut filter, CLIENT, &ping(b"after")), Fate::Swallow);
        assert_eq!(filter.take_owed_pong(), Some(pong(b"after")));
        filter.detach(0);
        assert!(!filter.owes_pong(), "a pong answers the earlier pings");
        filter.attach(0, UpstreamContext::Kept);
        assert_eq!(decide(&mut filter, CLIENT, &pong(b"new")), Fate::Pass);
    }

    #[test]
    fn a_pong_that_is_owed_is_not_forgotten_over_another_loss() {
        let mut filter = filter();
        filter.detach(0);
        assert_eq!(decide(&mut filter, CLIENT, &ping(b"1")), Fate::Swallow);
        filter.attach(0, UpstreamContext::Kept);
        filter.detach(0);
        assert_eq!(filter.take_owed_pong(), Some(pong(b"1")));
    }

    #[test]
    fn pongs_due_to_a_lost_upstream_are_swallowed_after_the_next_one_came() {
        let mut filter = filter();
        filter.detach(2);
        filter.attach(0, UpstreamContext::Kept);
        assert_eq!(decide(&mut filter, CLIENT, &pong(b"1")), Fate::Swallow);
        assert_eq!(decide(&mut filter, CLIENT, &pong(b"2")), Fate::Swallow);
        assert_eq!(decide(&mut filter, CLIENT, &pong(b"3")), Fate::Pass);
    }

    #[test]
    fn pongs_due_to_a_lost_upstream_are_swallowed_also_when_the_tunnel_ends() {
        let mut filter = filter();
        filter.detach(1);
        filter.attach(0, UpstreamContext::Kept);
        filter.end();
        assert!(filter.outlives_reattachment());
        let close = ControlFrame::close(CloseCode::SERVICE_RESTART, "");
        assert_eq!(decide(&mut filter, UPSTREAM, &close), Fate::Pass);
        assert_eq!(decide(&mut filter, CLIENT, &ping(b"?")), Fate::Pass);
        assert_eq!(decide(&mut filter, CLIENT, &pong(b"old")), Fate::Swallow);
        assert_eq!(decide(&mut filter, CLIENT, &pong(b"new")), Fate::Pass);
        assert!(!filter.outlives_reattachment());
    }

    #[test]
    fn a_pong_to_the_next_upstream_settles_those_that_never_came() {
        let mut filter = filter();
        filter.detach(2);
        filter.attach(0, UpstreamContext::Kept);
        let fate = filter.decide(CLIENT, &pong(b"new"), || true);
        assert_eq!(fate, Fate::Pass);
        assert_eq!(decide(&mut filter, CLIENT, &pong(b"newer")), Fate::Pass);
    }

    #[test]
    fn only_a_close_frame_of_the_upstream_with_a_listed_code_waits() {
        let mut filter = filter();
        for (code, fate) in [
            (
                CloseCode::SERVICE_RESTART,
                Fate::Withhold(CloseCode::SERVICE_RESTART),
            ),
            (CloseCode::GOING_AWAY, Fate::Pass),
            (CloseCode::NORMAL, Fate::Pass),
        ] {
            let close = ControlFrame::close(code, "");
            assert_eq!(decide(&mut filter, UPSTREAM, &close), fate);
            assert_eq!(decide(&mut filter, CLIENT, &close), Fate::Pass);
        }
        assert_eq!(decide(&mut filter, UPSTREAM, &ping(b"")), Fate::Pass);
        assert_eq!(decide(&mut filter, UPSTREAM, &pong(b"")), Fate::Pass);
    }
}
