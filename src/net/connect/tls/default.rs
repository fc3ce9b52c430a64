//! Default TLS configuration, by the compiled-in features.

use std::io;

use super::secure::Tls;

/// The configuration of the compiled-in features, if they suffice for one.
///
/// # Errors
///
/// No provider or no roots are compiled in, or the system's roots cannot be read.
pub(crate) fn default_tls() -> io::Result<Tls> {
    #[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
    return Tls::builder()
        .build()
        .map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error));
    #[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "TLS needs a configuration: no cryptography is compiled in",
    ))
}
