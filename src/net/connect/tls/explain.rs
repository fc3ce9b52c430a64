//! Explanations of failed TLS handshakes.

use std::{error, fmt, io};

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// A failed TLS handshake, with the explanation of the rustls error.
#[derive(Debug)]
struct TlsFailure {
    message: &'static str,
    source: Error,
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl error::Error for TlsFailure {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Wraps an error of rustls in an explanation, where its own words are technical.
pub(super) fn explain(error: io::Error) -> io::Error {
    let kind = error.kind();
    if kind == io::ErrorKind::UnexpectedEof {
        let message = "the upstream closed the connection before TLS was agreed on";
        return io::Error::new(kind, message);
    }
    let reason = error.get_ref().and_then(|source| source.downcast_ref());
    let (Some(message), Some(source)) = (reason.and_then(explanation), reason.cloned()) else {
        return error;
    };
    io::Error::new(kind, TlsFailure { message, source })
}

fn explanation(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::InvalidCertificate(reason) => certificate(reason),
        // The bytes received are not a TLS record.
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "the upstream does not speak TLS",
        Error::NoApplicationProtocol
        | Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the upstream does not speak the HTTP that was offered"
        }
        Error::PeerIncompatible(_)
        | Error::AlertReceived(
            AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure,
        ) => "the upstream and the proxy have no TLS in common",
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the upstream does not know the name"
        }
        _ => return None,
    })
}

fn certificate(reason: &CertificateError) -> &'static str {
    match reason {
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
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "nobody can tell whether the upstream's certificate is revoked"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the upstream's certificate is not one for servers"
        }
        _ => "the upstream's certificate is not valid",
    }
}
