//! The `Via` header (RFC 9110 §7.6.3).

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use http::header::VIA;
use http::{HeaderMap, Version};

use super::quoted;
use super::sink::HeaderSink;

/// Writer of `Via` entries under a pseudonym.
///
/// The header shows which proxies a message passed and which version of HTTP each of them received.
/// RFC 9110 §7.6.3 requires it of a proxy on requests; on responses, whose recipients are outside,
/// a gateway may leave it out.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, Version};
/// use wsplice::headers::Via;
///
/// let via = Via::new("edge")?;
/// let mut headers = HeaderMap::new();
/// via.apply(&mut headers, Version::HTTP_11);
/// assert_eq!(headers["via"], "1.1 edge");
/// # Ok::<(), wsplice::headers::InvalidPseudonym>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    pseudonym: Arc<str>,
}

impl Via {
    /// Creates a writer with a name for this proxy that reveals nothing internal, such as `edge`.
    ///
    /// # Errors
    ///
    /// Returns an error if the pseudonym is not a token (RFC 9110 §5.6.2): letters, digits and
    /// ``!#$%&'*+-.^_`|~``, at least one.
    pub fn new(pseudonym: impl AsRef<str>) -> Result<Self, InvalidPseudonym> {
        let pseudonym = pseudonym.as_ref();
        if !quoted::is_token(pseudonym.as_bytes()) {
            return Err(InvalidPseudonym {
                pseudonym: pseudonym.to_owned(),
            });
        }
        Ok(Self {
            pseudonym: pseudonym.into(),
        })
    }

    /// Appends an entry to a request or a response that was received in HTTP of this version.
    ///
    /// The entry takes a line of its own, which is equivalent to the end of the one list.
    pub fn apply(&self, headers: &mut HeaderMap, received: Version) {
        self.write(received, headers);
    }

    /// Writes the entry as a line.
    pub(crate) fn write(&self, received: Version, sink: &mut impl HeaderSink) {
        let entry = format!("{} {}", protocol_version(received), self.pseudonym);
        sink.write(&VIA, entry.as_bytes());
    }
}

/// Error for a name that [`Via::new`] cannot write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPseudonym {
    pseudonym: String,
}

impl InvalidPseudonym {
    /// Returns the name as it was given.
    #[must_use]
    pub fn pseudonym(&self) -> &str {
        &self.pseudonym
    }
}

impl fmt::Display for InvalidPseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pseudonym = &self.pseudonym;
        write!(
            f,
            "Via pseudonym {pseudonym:?} is not a token (RFC 9110 §5.6.2)"
        )
    }
}

impl Error for InvalidPseudonym {}

/// Returns the version without `HTTP/` and, from HTTP/2 on, without a minor version (RFC 9110 §2.5): the
/// `received-protocol` of `Via` (§7.6.3), and OpenTelemetry's `network.protocol.version`.
pub(crate) fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_entry_comes_last_and_the_others_stay_rfc9110_7_6_3() {
        let mut headers = HeaderMap::new();
        headers.append(VIA, HeaderValue::from_static("1.0 fred (a, b)"));
        headers.append(VIA, HeaderValue::from_static("1.1 p.example.net"));
        Via::new("edge")
            .unwrap()
            .apply(&mut headers, Version::HTTP_11);
        let lines: Vec<_> = headers.get_all(VIA).iter().collect();
        assert_eq!(lines, ["1.0 fred (a, b)", "1.1 p.example.net", "1.1 edge"]);
    }

    #[test]
    fn the_received_version_is_named() {
        let via = Via::new("edge").unwrap();
        for (version, entry) in [
            (Version::HTTP_09, "0.9 edge"),
            (Version::HTTP_10, "1.0 edge"),
            (Version::HTTP_11, "1.1 edge"),
            (Version::HTTP_2, "2 edge"),
            (Version::HTTP_3, "3 edge"),
        ] {
            let mut headers = HeaderMap::new();
            via.apply(&mut headers, version);
            assert_eq!(headers[VIA], entry);
        }
    }

    #[test]
    fn a_pseudonym_is_a_token_rfc9110_5_6_2() {
        for bad in ["", "a b", "a,b", "(a)", "a\r\nx: y", "é", "host:80"] {
            let error = Via::new(bad).unwrap_err();
            assert_eq!(error.pseudonym(), bad);
            assert!(error.to_string().contains(&format!("{bad:?}")));
        }
    }
}
