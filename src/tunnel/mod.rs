//! Stage 6: bytes both ways, frames located, pings and closes injected.
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
//! * `flow` is one direction, used twice; `track` (pure) says what its bytes mean.
//! * `leg` is one connection with its keep-alive (`keep_alive`, pure).
//! * `end` (pure) decides how the tunnel ends; `close` (pure) names the close codes.
//! * `engine` joins them: it polls the flows (`splice`), looks at what is due when (`deadlines`),
//!   and obeys `end` (`ending`).
//! * `registry` lists the open tunnels, `drain` ends them all, `report` is the account of one.
//! * `builder` makes a tunnel for hosts, `handle` commands one from other tasks.
//! * `scratch` is the thread's read buffer, `alarm` the one timer, `context` what one poll of
//!   a flow shares, `pair` the index of the two legs.

mod alarm;
mod builder;
mod close;
mod config;
mod context;
pub(crate) mod drain;
mod end;
mod engine;
mod flow;
mod handle;
mod keep_alive;
mod leg;
mod limits;
mod pair;
pub(crate) mod registry;
pub(crate) mod report;
mod scratch;
mod track;

pub(crate) use engine::{PolledBy, TunnelParts};
pub use {
    builder::TunnelBuilder,
    config::{Framing, TunnelConfig},
    engine::Tunnel,
    handle::TunnelHandle,
    keep_alive::KeepAlive,
    limits::Limits,
};
