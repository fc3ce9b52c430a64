//! Close status codes.

use std::fmt;

/// The status code of a close frame (RFC 6455 §7.4 and the IANA registry of close codes).
///
/// Any 16-bit value may arrive; those that may be sent are [sendable](Self::is_sendable).
///
/// # Examples
///
/// ```
/// use wsplice::frame::CloseCode;
///
/// assert_eq!(CloseCode::GOING_AWAY.to_string(), "1001 going away");
/// assert_eq!(CloseCode::from(4001).to_string(), "4001");
/// assert!(!CloseCode::ABNORMAL.is_sendable());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: an endpoint goes away, such as a server that shuts down.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the other end broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of data that this endpoint cannot accept.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1005: the close frame carried no code. Never sent.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: the connection ended without a close frame. Never sent.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: a payload that does not fit its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: a policy was violated and no other code fits better.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message too big to process.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: the client misses an extension in the server's handshake.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: the server met a condition that it did not expect.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts; reconnect after a while.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the service is overloaded; try again later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got an invalid response from its upstream.
    pub const BAD_GATEWAY: Self = Self(1014);
    /// 1015: the TLS handshake failed. Never sent.
    pub const TLS_HANDSHAKE: Self = Self(1015);

    /// Takes any value, assigned or not.
    #[must_use]
    pub const fn new(code: u16) -> Self {
        Self(code)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self.0
    }

    /// Whether an endpoint may put this code into a close frame.
    ///
    /// True for the assigned protocol codes other than 1005, 1006 and 1015, which only describe
    /// what happened (RFC 6455 §7.4.1), and for 3000 to 4999, which belong to libraries and
    /// applications (RFC 6455 §7.4.2).
    #[must_use]
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// The code as a [slug](crate#slugs): its number if it has a constant here, otherwise `3xxx` or
    /// `4xxx` for those of libraries and applications (RFC 6455 §7.4.2), and `other`.
    ///
    /// Clients choose the code, so a metric needs these bounds: there are 18 values.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::frame::CloseCode;
    ///
    /// assert_eq!(CloseCode::GOING_AWAY.as_str(), "1001");
    /// assert_eq!(CloseCode::new(4001).as_str(), "4xxx");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self.0 {
            1000 => "1000",
            1001 => "1001",
            1002 => "1002",
            1003 => "1003",
            1005 => "1005",
            1006 => "1006",
            1007 => "1007",
            1008 => "1008",
            1009 => "1009",
            1010 => "1010",
            1011 => "1011",
            1012 => "1012",
            1013 => "1013",
            1014 => "1014",
            1015 => "1015",
            3000..=3999 => "3xxx",
            4000..=4999 => "4xxx",
            _ => "other",
        }
    }

    /// The meaning of the code, in lower case; `None` unless it has a constant here.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NORMAL => "normal closure",
            Self::GOING_AWAY => "going away",
            Self::PROTOCOL_ERROR => "protocol error",
            Self::UNSUPPORTED_DATA => "unsupported data",
            Self::NO_STATUS => "no status received",
            Self::ABNORMAL => "abnormal closure",
            Self::INVALID_PAYLOAD => "invalid payload",
            Self::POLICY_VIOLATION => "policy violation",
            Self::MESSAGE_TOO_BIG => "message too big",
            Self::MANDATORY_EXTENSION => "mandatory extension",
            Self::INTERNAL_ERROR => "internal error",
            Self::SERVICE_RESTART => "service restart",
            Self::TRY_AGAIN_LATER => "try again later",
            Self::BAD_GATEWAY => "bad gateway",
            Self::TLS_HANDSHAKE => "TLS handshake failed",
            _ => return None,
        })
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} {name}", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_meant_for_the_wire_are_sendable_rfc6455_7_4() {
        let sendable = |code| CloseCode::new(code).is_sendable();
        for code in [
            1000, 1001, 1002, 1003, 1007, 1010, 1011, 1012, 1014, 3000, 4000, 4999,
        ] {
            assert!(sendable(code), "{code}");
        }
        for code in [
            0,
            999,
            1004,
            1005,
            1006,
            1015,
            1016,
            2000,
            2999,
            5000,
            u16::MAX,
        ] {
            assert!(!sendable(code), "{code}");
        }
    }

    #[test]
    fn named_codes_say_their_name() {
        assert_eq!(
            CloseCode::TRY_AGAIN_LATER.to_string(),
            "1013 try again later"
        );
        assert_eq!(CloseCode::new(1004).to_string(), "1004");
        assert_eq!(CloseCode::new(3999).to_string(), "3999");
    }

    #[test]
    fn converts_to_and_from_its_number() {
        assert_eq!(u16::from(CloseCode::from(1011)), 1011);
        assert_eq!(CloseCode::INTERNAL_ERROR.as_u16(), 1011);
    }
}
