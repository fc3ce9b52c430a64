//! The kit the integration tests are written with: raw sockets where every byte counts, real
//! WebSocket libraries where behavior does, and servers to put the service under test into.
//!
//! | module | content |
//! |---|---|
//! | [`raw::RawClient`] | a client that writes and reads exactly the bytes of the test |
//! | [`upstream::RawUpstream`] | an upstream that follows a script, and logs all that reaches it |
//! | [`scripts`] | ready-made scripts: echo, garbage, silence, dribble, invalid responses |
//! | [`axum_upstream`] | an axum application with real WebSocket endpoints |
//! | `h2_upstream` | an upstream over HTTP/2 that hands every stream to the test |
//! | [`clock`] | durations, and a runtime whose clock is paused |
//! | [`clients`] | tokio-tungstenite and fastwebsockets behind one trait |
//! | [`frames`] | single frames, built and read byte by byte |
//! | [`descriptors`] | how many tunnels the limit on descriptors allows |
//! | [`dice`] | the choices of a random case: from a seed, or from the bytes of a fuzzer |
//! | [`pipe`] | a connection in memory whose far end is a value and not a task |
//! | `dns` | a DNS server that responds well or badly (feature `dns`) |
//! | [`rng`] | seeded payloads and a running checksum |
//! | [`sides`] | the two sides that can send |
//! | [`sources`] | the files of the library, for tests that must not miss a type |
//! | [`serve`] | the servers: axum, plain hyper, hyper-util's auto server |
//! | [`tls`] | a server inside TLS, and the raw end of a client of it |
//! | [`tunnels`] | a proxy in such a server, and both raw ends of a tunnel through it |
//!
//! Three rules hold throughout. Every wait is bounded by [`deadline::DEADLINE`] and names the event
//! in its panic. Nothing sleeps: a test that has to wait for the other side waits on the log with
//! [`upstream::RawUpstream::wait_for`]. All listeners and tasks end with their handle.

pub(crate) mod axum_upstream;
pub(crate) mod clients;
pub(crate) mod clock;
pub(crate) mod deadline;
#[allow(
    dead_code,
    reason = "each binary, and each set of features, uses a part"
)]
pub(crate) mod descriptors;
pub(crate) mod dice;
#[cfg(feature = "dns")]
pub(crate) mod dns;
pub(crate) mod frames;
#[allow(
    dead_code,
    reason = "each binary, and each set of features, uses a part"
)]
pub(crate) mod h2_frame;
#[cfg(feature = "http2")]
pub(crate) mod h2_upstream;
pub(crate) mod head;
pub(crate) mod pipe;
pub(crate) mod raw;
pub(crate) mod rng;
pub(crate) mod scripts;
pub(crate) mod serve;
pub(crate) mod sides;
pub(crate) mod sources;
pub(crate) mod tls;
pub(crate) mod tunnels;
pub(crate) mod upstream;
pub(crate) mod wire;
