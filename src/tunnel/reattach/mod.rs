//! Reattachment: the decision whether a tunnel that loses its upstream gets another one, without
//! io and without a clock.
//!
//! * `loss` names how an upstream was lost, `refusal` why a tunnel did not get another one, and
//!   `change` is the record of a change of the upstream;
//! * `settings` are the user's;
//! * `rules` decides at the moment of a loss, by the positions of both directions and by `history`;
//! * `filter` decides about the control frames that concern one upstream alone.
//!
//! The engine carries the decisions out (`engine/reattaching`), and the session of the proxy makes
//! the handshake with the next upstream.

mod change;
mod filter;
mod history;
mod loss;
mod refusal;
mod rules;
mod settings;

pub use {
    change::UpstreamChange,
    loss::Loss,
    refusal::ReattachRefusal,
    settings::{Reattach, ReattachOn},
};
pub(super) use {
    filter::{Fate, Filter},
    history::History,
    rules::{Situation, refusal},
};
