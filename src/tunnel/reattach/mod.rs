//! Reattachment: whether a tunnel that loses its upstream gets another one.
//!
//! | you want | take |
//! |---|---|
//! | tunnels that outlive their upstream | [`Reattach`], for [`ProxyLayer::reattach`](crate::ProxyLayer::reattach) |
//! | this for some losses alone | [`ReattachOn`] |
//! | to decide for each tunnel, with the request of its next handshake | [`ReattachRequest`], [`ReattachDecision`] |
//! | to send the next upstream what it must know, and to discard what the client knows | [`Restoration`] |
//! | to read a client's messages as the upstream takes them | [`ClientMessage`]; the payload of one that is [compressed](ClientMessage::is_compressed) is not read |
//! | to know which upstreams a tunnel had, when each was [lost](UpstreamChange::lost_after), and how long the change took | [`UpstreamChange`] |
//! | to know how an upstream was lost | [`Loss`] |
//! | to know why a tunnel got no other upstream | [`ReattachRefusal`] |
//!
//! The decisions are pure: they are made without io and without a clock.
//!
//! * `loss` names how an upstream was lost, `refusal` why a tunnel did not get another one, and
//!   `change` is the record of a change of the upstream;
//! * `settings` are the user's;
//! * `hook` and `decision` are the host's: its function, what it gets and what it returns;
//! * `delivery` reads the client's messages that the upstream has taken, for the `recording`, which is
//!   replayed, and for the host's `tap`; `swallow` removes the next upstream's first messages;
//! * `rules` decides at the moment of a loss, by the positions of both directions and by `history`;
//! * `filter` decides about the control frames that concern one upstream alone.
//!
//! The engine carries the decisions out (`engine/reattaching`), and the session of the proxy makes
//! the handshake with the next upstream.

mod change;
mod decision;
mod delivery;
mod filter;
mod history;
mod hook;
mod loss;
mod recording;
mod refusal;
mod rules;
mod settings;
mod swallow;
mod tap;

pub use {
    change::UpstreamChange,
    decision::{ReattachDecision, Restoration},
    hook::ReattachRequest,
    loss::Loss,
    refusal::ReattachRefusal,
    settings::{Reattach, ReattachOn},
    tap::ClientMessage,
};
pub(super) use {
    filter::{Fate, Filter},
    history::History,
    rules::{Situation, refusal_after_loss},
};
pub(crate) use {hook::Hook, swallow::UpstreamContext};
