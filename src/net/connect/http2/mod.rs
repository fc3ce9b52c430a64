//! Connections to upstreams over HTTP/2 that many tunnels share (RFC 9113, RFC 8441).
//!
//! ```text
//! Http2Pool ──► Peer (an address) ──► Connection ──► StreamSlot ──► Stream
//!                 │ one opens,          ▲
//!                 │ others wait         │ Driver (a task)
//!                 └──► open ────────────┘
//! ```
//!
//! * `checkout` finds a slot on a connection of a `peer`, or lets one of the searchers open another
//!   connection; `acquire` acts on its outcome;
//! * `open` sends the preface, and waits for the SETTINGS of the upstream;
//! * `connection` counts the streams; a [`StreamSlot`] is the slot of one that is not open yet
//!   (`stream_slot`);
//! * `driver` is the task that moves a connection, checks by PING that it is alive (`pinging`,
//!   pure), and closes it when it has been idle for long;
//! * `stream` is the byte stream that a tunnel gets.
//!
//! A connection belongs to the layer that opened it and to its tunnels; when both are gone it ends.

mod acquire;
mod checkout;
mod connection;
mod driver;
mod open;
mod peer;
mod pinging;
mod pool;
mod settings;
mod stream;
mod stream_slot;

pub(crate) use connection::StreamGuard;
pub(crate) use pool::Http2Pool;
pub use settings::Http2Connections;
pub(crate) use stream::{Stream, io_error};
pub(crate) use stream_slot::{Opened, StreamSlot, Tried, is_unprocessed};
