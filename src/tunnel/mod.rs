//! Stage 6, the tunnel: forwards bytes both ways and puts pings and closes between frames.
//!
//! One hand-written future per tunnel:
//!
//! ```text
//!            ┌──────────── Flow: client → upstream ───────────┐
//!   Leg ─────┤  read ► Track (frames, pongs, limits) ► write  ├───── Leg
//!  client    ├────────────────────────────────────────────────┤   upstream
//!  Pinger ───┤  write ◄ Track (frames, pongs, limits) ◄ read  ├─── Pinger
//!            └──────────── Flow: upstream → client ───────────┘
//!                              one Alarm
//! ```
//!
//! * `flow` is one direction, used twice; `track` (pure) follows the frames in its bytes.
//! * `leg` is one connection with its keep-alive (`keep_alive`, pure).
//! * `end` (pure) decides how the tunnel ends; `close` (pure) names the close codes.
//! * `engine` joins them: `splice` polls the flows, `deadlines` computes the next deadline and acts
//!   on those that passed, `closing` carries out the orders of `end`.
//! * `reattach` (pure) decides whether a tunnel that loses its upstream gets another one.
//! * `registry` lists the open tunnels, `drain` ends them all, `report` is the account of one.
//! * `builder` makes a tunnel for hosts, `handle` commands one from other tasks.
//! * `scratch` is the thread's read buffer, `crate::alarm` the one timer, `context` the arguments that
//!   one poll of a flow shares, `pair` the index of the two legs.

mod builder;
mod close;
mod config;
mod context;
pub(crate) mod drain;
mod end;
mod engine;
mod flow;
mod handle;
pub(crate) mod info;
mod keep_alive;
mod leg;
mod limits;
mod pair;
mod reattach;
pub(crate) mod registry;
pub(crate) mod report;
mod scratch;
mod track;

pub(crate) use config::TcpFallback;
pub(crate) use engine::{
    NextUpstream, ReattachParts, Search, TaskAffinity, TunnelParts, close_at_once,
};
pub(crate) use reattach::{Hook, UpstreamContext};
pub use {
    builder::TunnelBuilder,
    config::{Framing, TunnelConfig},
    engine::Tunnel,
    handle::TunnelHandle,
    keep_alive::KeepAlive,
    limits::Limits,
    reattach::{
        ClientMessage, Loss, Reattach, ReattachDecision, ReattachOn, ReattachRefusal,
        ReattachRequest, Restoration, UpstreamChange,
    },
};
