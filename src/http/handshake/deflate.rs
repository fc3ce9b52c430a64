//! Agreement on extensions, as far as another upstream must be able to follow it.

use http::{HeaderMap, HeaderValue, header::SEC_WEBSOCKET_EXTENSIONS};

use crate::{frame::Rsv, http::headers::extension_names};

/// Name of the extension and of the parameter that make each message of the client independent of
/// the ones before (RFC 7692 §7.1.1.2).
const DEFLATE: &str = "permessage-deflate";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";

/// The extensions that a client and its upstream agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AgreedExtensions {
    None,
    Deflate(Deflate),
    /// Extensions or parameters that are not known here.
    Unknown,
}

/// Parameters of permessage-deflate in a response (RFC 7692 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deflate {
    server: Compressor,
    client: Compressor,
}

/// Parameters of one side's compressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Compressor {
    context: ContextTakeover,
    /// Base-2 logarithm of the window in bytes.
    window_bits: u8,
}

/// Whether a compressor refers to earlier messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ContextTakeover {
    Allowed,
    No,
}

/// Compressor without parameters (RFC 7692 §7.1.2).
const UNRESTRICTED: Compressor = Compressor {
    context: ContextTakeover::Allowed,
    window_bits: 15,
};

impl AgreedExtensions {
    /// Reads the `Sec-WebSocket-Extensions` of a verified 101.
    pub(crate) fn read(response: &HeaderMap) -> Self {
        let mut names = extension_names(response);
        match (names.next(), names.next()) {
            (None, _) => return Self::None,
            (Some(name), None) if name.eq_ignore_ascii_case(DEFLATE.as_bytes()) => {}
            _ => return Self::Unknown,
        }
        let lines = response.get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
        let mut deflate = Deflate {
            server: UNRESTRICTED,
            client: UNRESTRICTED,
        };
        for line in lines {
            let Ok(line) = line.to_str() else {
                return Self::Unknown;
            };
            for parameter in line.trim_matches([',', ' ', '\t']).split(';').skip(1) {
                if deflate.set(parameter).is_none() {
                    return Self::Unknown;
                }
            }
        }
        Self::Deflate(deflate)
    }

    /// Whether the client's messages can be read without the ones before.
    pub(crate) fn has_independent_client_messages(&self) -> bool {
        match self {
            Self::None => true,
            Self::Deflate(deflate) => deflate.client.context == ContextTakeover::No,
            Self::Unknown => false,
        }
    }

    /// Whether the upstream's messages can be read without the ones before.
    pub(crate) fn has_independent_upstream_messages(&self) -> bool {
        match self {
            Self::None => true,
            Self::Deflate(deflate) => deflate.server.context == ContextTakeover::No,
            Self::Unknown => false,
        }
    }

    /// Adds `client_no_context_takeover` to the client's response, where that makes the client's
    /// messages independent. A server may do so without an offer (RFC 7692 §7.1.1.2), and a server
    /// that keeps its window reads such messages all the same.
    pub(crate) fn with_no_context_takeover(self, response: &mut HeaderMap) -> Self {
        let Self::Deflate(mut deflate) = self else {
            return self;
        };
        if deflate.client.context == ContextTakeover::No {
            return self;
        }
        let line = response.get(SEC_WEBSOCKET_EXTENSIONS);
        let Some(Ok(line)) = line.map(HeaderValue::to_str) else {
            return self;
        };
        let line = line.trim_end_matches([',', ' ', '\t']);
        let longer = HeaderValue::try_from(format!("{line}; {CLIENT_NO_CONTEXT_TAKEOVER}"));
        let Ok(longer) = longer else { return self };
        response.insert(SEC_WEBSOCKET_EXTENSIONS, longer);
        deflate.client.context = ContextTakeover::No;
        Self::Deflate(deflate)
    }

    /// Whether a client that agreed to `this` can go on with an upstream that agrees to `next`.
    ///
    /// The next upstream's compressor begins with an empty window, which the client can read if the
    /// window that it keeps is as large; a client that resets its window needs messages that do not
    /// refer to others. The next upstream must be able to read what the client's compressor refers to.
    pub(crate) fn can_be_followed_by(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::None, Self::None) => true,
            (Self::Deflate(this), Self::Deflate(next)) => {
                let resets = this.server.context == ContextTakeover::No;
                (!resets || next.server.context == ContextTakeover::No)
                    && next.server.window_bits <= this.server.window_bits
                    && next.client.window_bits >= this.client.window_bits
                    && this.client.context == ContextTakeover::No
            }
            _ => false,
        }
    }

    /// The reserved bits that frames may have (RFC 7692 §6: RSV1 marks a compressed message).
    pub(crate) const fn reserved_bits(&self) -> Rsv {
        match self {
            Self::None => Rsv::NONE,
            Self::Deflate(_) => Rsv::RSV1,
            Self::Unknown => Rsv::ALL,
        }
    }
}

impl Deflate {
    /// Applies a parameter; `None` if it is not a known one.
    fn set(&mut self, parameter: &str) -> Option<()> {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (parameter.trim(), None),
        };
        match (name, value) {
            ("server_no_context_takeover", None) => self.server.context = ContextTakeover::No,
            (CLIENT_NO_CONTEXT_TAKEOVER, None) => self.client.context = ContextTakeover::No,
            ("server_max_window_bits", Some(bits)) => self.server.window_bits = window_bits(bits)?,
            ("client_max_window_bits", Some(bits)) => self.client.window_bits = window_bits(bits)?,
            _ => return None,
        }
        Some(())
    }
}

/// Reads the size of a window (RFC 7692 §7.1.2.1: 8 to 15, without leading zeros).
fn window_bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok()?;
    (8..=15).contains(&bits).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(line: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !line.is_empty() {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, line.parse().unwrap());
        }
        headers
    }

    fn read(line: &str) -> AgreedExtensions {
        AgreedExtensions::read(&headers(line))
    }

    #[test]
    fn other_extensions_and_parameters_are_unknown() {
        for line in [
            "x-webkit-deflate-frame",
            "permessage-deflate, permessage-bbf",
            "permessage-deflate; unheard_of",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_no_context_takeover=1",
        ] {
            assert_eq!(read(line), AgreedExtensions::Unknown, "{line}");
            assert!(!read(line).can_be_followed_by(&read(line)), "{line}");
        }
        assert_eq!(read(""), AgreedExtensions::None);
    }

    #[test]
    fn the_next_agreement_is_compared_by_the_rules_of_rfc7692() {
        const NO: &str = "permessage-deflate; client_no_context_takeover";
        let with = |more: &str| format!("{NO}; {more}");
        let resets = with("server_no_context_takeover");
        let server_12 = with("server_max_window_bits=12");
        let client_12 = with("client_max_window_bits=\"12\"");
        let table = [
            ("", "", true),
            ("", "permessage-deflate", false),
            (NO, "", false),
            (NO, NO, true),
            // The upstream need not know what the client does without.
            (NO, "Permessage-Deflate", true),
            ("permessage-deflate", "permessage-deflate", false),
            // A client that resets its window reads no references to earlier messages.
            (&resets, NO, false),
            (NO, &resets, true),
            (&resets, &resets, true),
            // The window that the client keeps, and the one that the next upstream uses.
            (NO, &server_12, true),
            (&server_12, NO, false),
            (&server_12, &server_12, true),
            // The window that the client uses, and the one that the next upstream keeps.
            (NO, &client_12, false),
            (&client_12, NO, true),
        ];
        for (this, next, follows) in table {
            assert_eq!(
                read(this).can_be_followed_by(&read(next)),
                follows,
                "{this:?} then {next:?}"
            );
        }
    }

    #[test]
    fn the_parameter_is_added_once_and_to_deflate_alone_rfc7692_7_1_1_2() {
        for (line, expected) in [
            (
                "permessage-deflate; server_max_window_bits=10",
                "permessage-deflate; server_max_window_bits=10; client_no_context_takeover",
            ),
            (
                "permessage-deflate; client_no_context_takeover",
                "permessage-deflate; client_no_context_takeover",
            ),
            ("x-unheard-of", "x-unheard-of"),
        ] {
            let mut headers = headers(line);
            let agreed = AgreedExtensions::read(&headers).with_no_context_takeover(&mut headers);
            assert_eq!(headers[SEC_WEBSOCKET_EXTENSIONS], expected);
            assert_eq!(agreed, AgreedExtensions::read(&headers));
            let is_deflate = line.starts_with("permessage");
            assert_eq!(agreed.has_independent_client_messages(), is_deflate);
        }
        let mut none = HeaderMap::new();
        let agreed = AgreedExtensions::None.with_no_context_takeover(&mut none);
        assert!(none.is_empty() && agreed.has_independent_client_messages());
    }
}
