//! Stage 6, the tunnel: forwards bytes both ways and puts pings and closes between frames.
//!
//! | you want | take |
//! |---|---|
//! | to set timers and limits of the proxy's tunnels | [`TunnelConfig`], [`KeepAlive`](crate::KeepAlive), [`Limits`](crate::Limits); other limits for what upstreams send: [`TunnelConfig::upstream_limits`] |
//! | to decide what becomes of frames that break the protocol | [`Framing`] |
//! | to know how a tunnel ended | [`TunnelReport`](crate::TunnelReport): its [`TunnelEnd`], the [`Side`] that began it, perhaps a [`Timer`] or a [`Limit`] |
//! | to know which side failed, if one did, and which close frame the proxy sent | [`TunnelEnd::failed_side`], [`TunnelReport::proxy_close`](crate::TunnelReport::proxy_close) |
//! | to know what it carried | [`DirectionStats`], [`FrameCounts`], [`Rtt`], as in [`TunnelReport::upstream_rtt`](crate::TunnelReport::upstream_rtt) |
//! | the close frame that a side sent | [`ReceivedClose`] |
//! | to list, close or move open tunnels | [`registry`] |
//! | tunnels that outlive their upstream | [`reattach`] |
//! | to drain some of the tunnels | [`Drain::run_where`](crate::Drain::run_where) |
//! | to know how a drain went | [`Drained`] of [`Drain::run`](crate::Drain::run), with the forwarded requests that it [cut off](Drained::aborted_requests) |
//! | a tunnel without the proxy, between two streams of yours | [`Tunnel`], made by a [`TunnelBuilder`], and commanded by a [`TunnelHandle`], whose close at a moment can be [cancelled](TunnelHandle::cancel_close_at) |
//! | bytes of the client that its server has read already to reach the upstream | [`TunnelBuilder::client_read_ahead`] |
//! | to name such a tunnel, or give it a value for your observer | [`TunnelInfo::set_key`](crate::TunnelInfo::set_key), [`set_label`](crate::TunnelInfo::set_label), [`set_value`](crate::TunnelInfo::set_value) |
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
//! * `registry` lists the open tunnels, `drain` ends them all (`drained` is its account), `report` is the
//!   account of one.
//! * `builder` makes a tunnel for hosts, `handle` commands one from other tasks.
//! * `scratch` is the thread's read buffer, `crate::alarm` the one timer, `context` the arguments that
//!   one poll of a flow shares, `pair` the index of the two legs.

mod builder;
mod close;
pub(crate) mod config;
mod context;
pub(crate) mod drain;
mod drained;
mod end;
mod engine;
mod flow;
mod handle;
pub(crate) mod info;
pub(crate) mod keep_alive;
mod leg;
pub(crate) mod limits;
mod pair;
pub mod reattach;
pub mod registry;
pub(crate) mod report;
mod scratch;
mod track;
pub(crate) mod traffic;

pub use crate::error::Side;
pub use config::Framing;
pub(crate) use config::{TcpFallback, TunnelConfig};
pub use drained::Drained;
pub(crate) use engine::{
    NextUpstream, ReattachParts, Search, TaskAffinity, TunnelParts, close_at_once,
};
pub(crate) use reattach::{Hook, UpstreamContext};
pub use {
    builder::TunnelBuilder,
    engine::Tunnel,
    handle::TunnelHandle,
    report::{Limit, Timer, TunnelEnd},
    traffic::{DirectionStats, FrameCounts, ReceivedClose, Rtt},
};
