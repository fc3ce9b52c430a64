//! Transition table of a tunnel's end: the states of both legs, and the step of one.

use crate::tunnel::pair::LegId;

use super::{
    bounds::Bound,
    state::{Given, LegState, Said},
};

/// Step of one leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The leg stays as it is, for as long as this bound allows.
    Stay(Bound),
    /// The leg is ended in order, after the bytes on their way to it.
    Shut,
    /// The leg is lost, so the proxy ends the tunnel.
    ///
    /// The other leg was given nothing then: another upstream could be attached here, if the
    /// client's leg is [`Given::Open`] and between two messages.
    Lost,
    /// Nothing more happens on the leg.
    Over,
}

/// Whether the proxy has decided to end the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The endpoints end it between themselves, if at all.
    Theirs,
    /// The proxy ends it.
    Ours,
}

/// Returns the step of a leg: the table in `ARCHITECTURE.md`, row by row.
pub(super) const fn step(id: LegId, this: LegState, other: LegState, phase: Phase) -> Step {
    match phase {
        Phase::Theirs => theirs(id, this, other),
        Phase::Ours => ours(this),
    }
}

/// Step while the endpoints end the tunnel: the close or end of each is passed on to the other.
const fn theirs(id: LegId, this: LegState, other: LegState) -> Step {
    match (this.given, this.said) {
        (_, Said::Failed) | (Given::Gone(_), Said::End | Said::Truncated) => Step::Lost,
        // Bytes that it sent before it broke may still be on their way.
        (Given::Gone(_) | Given::Shut(_), Said::Nothing) => Step::Stay(Bound::HalfClose),
        (Given::Gone(_) | Given::Shut(_), _) => Step::Over,
        // The write timeout bounds the bytes before the end.
        (Given::ShutQueued(_), _) => Step::Stay(Bound::None),
        (Given::Open, _) => while_open(id, this, other),
        (Given::Relayed(_), _) => after_relayed_close(this, other),
        (Given::CloseQueued(_) | Given::CloseWritten(_), _) => ours(this),
    }
}

const fn while_open(id: LegId, this: LegState, other: LegState) -> Step {
    match (id, this.said, other.said, other.given) {
        // An upstream that ends without a close frame is lost to a client that waits for more.
        (LegId::Upstream, Said::End, Said::Nothing, Given::Open) => Step::Lost,
        (LegId::Client, Said::Nothing, Said::End, Given::Open | Given::Gone(_))
        | (_, _, Said::Failed, _) => Step::Stay(Bound::None),
        (_, _, Said::Nothing | Said::Close, _) => Step::Stay(Bound::None),
        (_, _, Said::End | Said::Truncated | Said::Left, _) => Step::Shut,
    }
}

const fn after_relayed_close(this: LegState, other: LegState) -> Step {
    match (this.said, other.said, other.given) {
        (_, Said::Failed, _) => Step::Stay(Bound::None),
        (Said::Nothing, Said::Close, _) => Step::Stay(Bound::Handshake),
        // Its own close frame is still on its way to the other one.
        (Said::Close, Said::Close, Given::Open) => Step::Stay(Bound::None),
        (_, Said::Close, Given::Gone(_)) => Step::Shut,
        // RFC 6455 §7.1.1: the server should end the connection first, and has a while to do so.
        (Said::Close, Said::Close, Given::Relayed(_))
        | (Said::End | Said::Truncated, Said::Close, _) => Step::Stay(Bound::BothClosed),
        _ => Step::Shut,
    }
}

/// Step while the proxy ends the tunnel: each leg on its own.
const fn ours(this: LegState) -> Step {
    match (this.given, this.said) {
        (Given::Gone(_), _) => Step::Over,
        (Given::CloseQueued(_) | Given::ShutQueued(_), _) => Step::Stay(Bound::Queue),
        (Given::CloseWritten(_) | Given::Shut(_), Said::Nothing) => Step::Stay(Bound::Answer),
        (Given::Shut(_), _) => Step::Over,
        (Given::CloseWritten(_) | Given::Open | Given::Relayed(_), _) => Step::Shut,
    }
}
