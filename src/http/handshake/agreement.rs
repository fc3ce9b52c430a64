//! Verification of an upstream's acceptance (RFC 6455 §4.1).

use std::{error, fmt};

use http::{
    HeaderMap, Version,
    header::{
        CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
    },
    response::Parts,
};

use crate::{
    frame::Extensions,
    http::headers::{contains_token, extension_names, members, only_line},
    http::upgrade::{Leniency, UpgradeRequest},
};

/// The offer of an outgoing handshake, kept while the request itself is in flight.
///
/// The type is not `Debug`: the key and the subprotocols, which often carry tokens, must not be
/// logged.
#[cfg_attr(test, derive(PartialEq))]
pub(crate) struct Offer {
    accept_key: String,
    lists: HeaderMap,
    leniency: Leniency,
}

/// The negotiated subprotocol and extensions. Without a subprotocol, the client gets no
/// `Sec-WebSocket-Protocol`, whatever the upstream sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreement {
    pub(crate) subprotocol: Option<Box<str>>,
    pub(crate) extensions: Extensions,
}

/// Fault of an upstream's acceptance: a 101, or over HTTP/2 a 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidUpgradeResponse {
    /// The version of the response is neither HTTP/1.1 nor HTTP/2.
    HttpVersion,
    /// The `Upgrade` header is not `websocket` (RFC 6455 §4.1, item 2 of the client's checks).
    Upgrade,
    /// The `Connection` header does not name `upgrade` (item 3).
    Connection,
    /// The `Sec-WebSocket-Accept` header does not match the key (item 4).
    AcceptKey,
    /// The response uses an extension that was not offered (item 5).
    Extension,
    /// The response selects a subprotocol that was not offered, or more than one (item 6).
    Subprotocol,
}

impl Offer {
    pub(crate) fn new(headers: &HeaderMap, upgrade: &UpgradeRequest) -> Self {
        let mut lists = HeaderMap::new();
        for name in [SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_EXTENSIONS] {
            for value in headers.get_all(&name) {
                lists.append(name.clone(), value.clone());
            }
        }
        Self {
            accept_key: upgrade.accept_key(),
            lists,
            leniency: Leniency::none(),
        }
    }

    /// Tolerates these deviations of the upstream.
    pub(crate) fn with_leniency(mut self, leniency: Leniency) -> Self {
        self.leniency = leniency;
        self
    }

    /// Verifies a 101, or a 2xx over HTTP/2. The version of the response is trustworthy, because
    /// the proxy chose the version of the request.
    ///
    /// # Errors
    ///
    /// Returns the first fault.
    pub(crate) fn verify(&self, response: &Parts) -> Result<Agreement, InvalidUpgradeResponse> {
        match response.version {
            // RFC 8441 §5: the stream is the proof.
            Version::HTTP_2 => {}
            Version::HTTP_11 => self.verify_switch(&response.headers)?,
            Version::HTTP_10 if self.leniency.allows_http10_acceptance() => {
                self.verify_switch(&response.headers)?;
            }
            _ => return Err(InvalidUpgradeResponse::HttpVersion),
        }
        Ok(Agreement {
            extensions: self.verify_extensions(&response.headers)?,
            subprotocol: self.verify_subprotocol(&response.headers)?,
        })
    }

    fn verify_switch(&self, headers: &HeaderMap) -> Result<(), InvalidUpgradeResponse> {
        let mut protocols = members(headers, &UPGRADE);
        match (protocols.next(), protocols.next()) {
            (Some(protocol), None) if protocol.eq_ignore_ascii_case(b"websocket") => {}
            _ => return Err(InvalidUpgradeResponse::Upgrade),
        }
        if !contains_token(headers, &CONNECTION, "upgrade") {
            return Err(InvalidUpgradeResponse::Connection);
        }
        if only_line(headers, &SEC_WEBSOCKET_ACCEPT).is_none_or(|key| key != &self.accept_key) {
            return Err(InvalidUpgradeResponse::AcceptKey);
        }
        Ok(())
    }

    fn verify_extensions(&self, headers: &HeaderMap) -> Result<Extensions, InvalidUpgradeResponse> {
        let mut agreed = Extensions::None;
        for extension in extension_names(headers) {
            let is_same = |offered: &[u8]| offered.eq_ignore_ascii_case(extension);
            if !extension_names(&self.lists).any(is_same) {
                return Err(InvalidUpgradeResponse::Extension);
            }
            agreed = Extensions::Agreed;
        }
        Ok(agreed)
    }

    fn verify_subprotocol(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Box<str>>, InvalidUpgradeResponse> {
        let mut chosen = members(headers, &SEC_WEBSOCKET_PROTOCOL);
        let subprotocol = match (chosen.next(), chosen.next()) {
            // An empty line selects nothing; some servers send one.
            (None, _) => return Ok(None),
            (Some(subprotocol), None) => subprotocol,
            (Some(_), Some(_)) => return Err(InvalidUpgradeResponse::Subprotocol),
        };
        if !members(&self.lists, &SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == subprotocol) {
            if self.leniency.drops_unrequested_subprotocol() {
                return Ok(None);
            }
            return Err(InvalidUpgradeResponse::Subprotocol);
        }
        Ok(Some(String::from_utf8_lossy(subprotocol).into()))
    }
}

impl fmt::Display for InvalidUpgradeResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HttpVersion => "the response is not HTTP/1.1",
            Self::Upgrade => "the Upgrade header is not \"websocket\"",
            Self::Connection => "the Connection header does not name \"upgrade\"",
            Self::AcceptKey => "the Sec-WebSocket-Accept header does not match the key",
            Self::Extension => "the response uses an extension that was not offered",
            Self::Subprotocol => "the response selects a subprotocol that was not offered",
        })
    }
}

impl error::Error for InvalidUpgradeResponse {}
