//! Which check failed, in words.

use std::{error, fmt, io};

use tokio_rustls::rustls::{CertificateError, Error};

/// A failed TLS handshake: what failed, and what rustls says of it.
#[derive(Debug)]
struct Failed {
    what: &'static str,
    source: Error,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.source)
    }
}

impl error::Error for Failed {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Puts words before what rustls says, where it says it in terms of its own.
pub(super) fn explain(error: io::Error) -> io::Error {
    let kind = error.kind();
    let Some(Error::InvalidCertificate(reason)) = error
        .get_ref()
        .and_then(|source| source.downcast_ref::<Error>())
    else {
        return error;
    };
    let what = match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the upstream's certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the upstream's certificate is not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the upstream's certificate is for another name"
        }
        CertificateError::UnknownIssuer => "the upstream's certificate has an unknown issuer",
        CertificateError::Revoked => "the upstream's certificate is revoked",
        _ => "the upstream's certificate is not valid",
    };
    io::Error::new(
        kind,
        Failed {
            what,
            source: Error::InvalidCertificate(reason.clone()),
        },
    )
}
