//! TLS to upstreams, with rustls.
//!
//! Nothing here is global: no crypto provider is installed, and with several compiled in one is
//! chosen for each configuration (`aws-lc-rs` before `ring`).

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod builder;
mod default;
mod explain;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod insecure;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod invalid;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod roots;
mod secure;

pub(crate) use default::default_tls;
pub use secure::Tls;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
pub use {builder::TlsBuilder, invalid::InvalidTls};
