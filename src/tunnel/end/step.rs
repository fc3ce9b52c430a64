//! What is to be done about one leg. The heart of how tunnels end.

use crate::tunnel::pair::LegId;

use super::{
    bounds::Bound,
    state::{Given, LegState, Said},
};

/// What is to be done about one leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It may stay as it is, for as long as this bound allows.
    Stay(Bound),
    /// It is ended in order, behind what is on its way to it.
    Shut,
    /// It is lost, so the proxy ends the tunnel.
    ///
    /// Nothing was given to the other leg then: whoever wants to attach another upstream does it
    /// here, if the client's leg is [`Given::Open`] and stands between two messages.
    Lost,
    /// Nothing more happens on it.
    Over,
}

/// What the proxy has decided about the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The endpoints end it between themselves, if at all.
    Theirs,
    /// The proxy ends it.
    Ours,
}

/// Looks at a leg: the table in `ARCHITECTURE.md`, row by row.
pub(super) const fn step(id: LegId, this: LegState, other: LegState, phase: Phase) -> Step {
    match phase {
        Phase::Theirs => theirs(id, this, other),
        Phase::Ours => ours(this),
    }
}

/// The endpoints end the tunnel, and what one says is passed on to the other.
const fn theirs(id: LegId, this: LegState, other: LegState) -> Step {
    match (this.given, this.said) {
        (_, Said::Failed) | (Given::Gone(_), Said::End | Said::Truncated) => Step::Lost,
        // What it said before it broke may still be on its way.
        (Given::Gone(_) | Given::Shut(_), Said::Nothing) => Step::Stay(Bound::HalfClose),
        (Given::Gone(_) | Given::Shut(_), _) => Step::Over,
        // The write timeout bounds what stands before the end.
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

/// The proxy ends the tunnel: each leg on its own.
const fn ours(this: LegState) -> Step {
    match (this.given, this.said) {
        (Given::Gone(_), _) => Step::Over,
        (Given::CloseQueued(_) | Given::ShutQueued(_), _) => Step::Stay(Bound::Queue),
        (Given::CloseWritten(_) | Given::Shut(_), Said::Nothing) => Step::Stay(Bound::Answer),
        (Given::Shut(_), _) => Step::Over,
        (Given::CloseWritten(_) | Given::Open | Given::Relayed(_), _) => Step::Shut,
    }
}
