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
//! * `engine` joins them: events of the flows (`splice`), what is due when (`deadlines`), and the
//!   way to the end (`ending`).
//! * `builder` makes a tunnel for hosts, `handle` commands one from other tasks.
//! * `close` (pure) names the close codes.
//! * `scratch` is the thread's read buffer, `alarm` the one timer, `clock` one look at the time.

mod alarm;
mod builder;
mod clock;
mod close;
mod config;
pub(crate) mod drain;
mod engine;
mod flow;
mod handle;
mod keep_alive;
mod leg;
mod limits;
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
