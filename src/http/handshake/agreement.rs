//! Whether a yes agrees to what was asked (RFC 6455 §4.1).

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
    http::upgrade::UpgradeRequest,
};

/// What the outgoing request offers: kept while the request itself is on its way.
///
/// Not `Debug`: the key and the subprotocols, among which tokens are often sent, are for no log.
pub(crate) struct Offer {
    accept_key: String,
    lists: HeaderMap,
}

/// What both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreement {
    pub(crate) subprotocol: Option<Box<str>>,
    pub(crate) extensions: Extensions,
}

/// How an upstream's yes fails to agree to what it was asked: a 101, or over HTTP/2 a 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidUpgradeResponse {
    /// It is a 101 in another version than HTTP/1.1.
    HttpVersion,
    /// It has no `Upgrade: websocket` (RFC 6455 §4.1, item 2 of the client's checks).
    Upgrade,
    /// Its `Connection` does not name `upgrade` (item 3).
    Connection,
    /// Its `Sec-WebSocket-Accept` does not prove that it read our key (item 4).
    AcceptKey,
    /// It uses an extension that was not offered (item 5).
    Extension,
    /// It chose a subprotocol that was not offered, or more than one (item 6).
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
        }
    }

    /// Verifies a 101, or an response that says as much over HTTP/2. In which version an upstream is
    /// asked, and so answers, is ours to choose.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    pub(crate) fn verify(&self, response: &Parts) -> Result<Agreement, InvalidUpgradeResponse> {
        match response.version {
            // RFC 8441 §5: the stream is the proof.
            Version::HTTP_2 => {}
            Version::HTTP_11 => self.verify_switch(&response.headers)?,
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
        if !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
            return Ok(None);
        }
        let mut chosen = members(headers, &SEC_WEBSOCKET_PROTOCOL);
        let (Some(subprotocol), None) = (chosen.next(), chosen.next()) else {
            return Err(InvalidUpgradeResponse::Subprotocol);
        };
        if !members(&self.lists, &SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == subprotocol) {
            return Err(InvalidUpgradeResponse::Subprotocol);
        }
        Ok(Some(String::from_utf8_lossy(subprotocol).into()))
    }
}

impl fmt::Display for InvalidUpgradeResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HttpVersion => "it is not an HTTP/1.1 response",
            Self::Upgrade => "its Upgrade header is not \"websocket\"",
            Self::Connection => "its Connection header does not name \"upgrade\"",
            Self::AcceptKey => "its Sec-WebSocket-Accept does not match the key",
            Self::Extension => "it uses an extension that was not offered",
            Self::Subprotocol => "it chose a subprotocol that was not offered",
        })
    }
}

impl error::Error for InvalidUpgradeResponse {}
