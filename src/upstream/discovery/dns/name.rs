//! DNS names that can be looked up. Pure.

use std::{error, fmt, net::IpAddr};

/// DNS name, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct DnsName(Box<str>);

impl DnsName {
    /// Parses a name; a dot at its end excludes search domains.
    ///
    /// # Errors
    ///
    /// No host or service can have this name (RFC 1035 §2.3.4; RFC 2782 for the underscore).
    pub(super) fn parse(text: &str) -> Result<Self, InvalidName> {
        match check(text) {
            Ok(()) => Ok(Self(text.to_ascii_lowercase().into())),
            Err(reason) => Err(InvalidName {
                name: text.into(),
                reason,
            }),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is complete, so that search domains do not apply.
    pub(super) fn is_absolute(&self) -> bool {
        self.0.ends_with('.')
    }

    /// Returns the number of dots within the name.
    pub(super) fn dots(&self) -> usize {
        self.without_dot().matches('.').count()
    }

    /// Returns the host of a service: `chat.example` for `_wss._tcp.chat.example.`.
    pub(super) fn host(&self) -> &str {
        let mut host = self.without_dot();
        while let Some(rest) = host.strip_prefix('_').and_then(|rest| rest.split_once('.')) {
            host = rest.1;
        }
        host
    }

    fn without_dot(&self) -> &str {
        self.0.strip_suffix('.').unwrap_or(&self.0)
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(text: &str) -> Result<(), Reason> {
    if text.parse::<IpAddr>().is_ok() {
        return Err(Reason::Address);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(Reason::Empty);
    }
    // RFC 1035 §2.3.4: 255 bytes on the wire, two of which are not in the text.
    if name.len() > 253 {
        return Err(Reason::Long);
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err(Reason::Label);
        }
        let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        // RFC 952 for the hyphen.
        if !label.bytes().all(is_usual) || label.starts_with('-') {
            return Err(Reason::Character);
        }
    }
    Ok(())
}

/// Error for a name that cannot be looked up, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidName {
    name: Box<str>,
    reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Address,
    Empty,
    Long,
    Label,
    Character,
    Port,
}

impl InvalidName {
    /// Creates the error for a name whose port is zero.
    pub(super) fn port(name: &str) -> Self {
        Self {
            name: name.into(),
            reason: Reason::Port,
        }
    }

    /// Returns the name as it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            Reason::Address => "it is an address, and needs no discovery",
            Reason::Empty => "it is empty",
            Reason::Long => "it is longer than 253 bytes",
            Reason::Label => "each of its labels must have 1 to 63 bytes",
            Reason::Character => {
                "it may have ASCII letters, digits, underscores, dots, and hyphens within labels"
            }
            Reason::Port => "its port must not be zero",
        };
        write!(f, "invalid name {:?}: {reason}", self.name)
    }
}

impl error::Error for InvalidName {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read() {
        for (text, is_absolute, dots, host) in [
            ("chat", false, 0, "chat"),
            ("Chat.Default.svc.", true, 2, "chat.default.svc"),
            ("_ws._tcp.chat.example.", true, 3, "chat.example"),
            ("_ws", false, 0, "_ws"),
            ("chat.service.consul", false, 2, "chat.service.consul"),
        ] {
            let name = DnsName::parse(text).unwrap();
            assert_eq!(name.is_absolute(), is_absolute, "{text}");
            assert_eq!(name.dots(), dots, "{text}");
            assert_eq!(name.host(), host, "{text}");
        }
    }

    #[test]
    fn invalid_names_are_refused_with_a_reason() {
        for (text, reason) in [
            ("", Reason::Empty),
            (".", Reason::Empty),
            ("10.0.0.1", Reason::Address),
            ("::1", Reason::Address),
            ("a..b", Reason::Label),
            (".a", Reason::Label),
            ("a b", Reason::Character),
            ("caf\u{e9}.example", Reason::Character),
            ("*.example", Reason::Character),
            ("a.-b", Reason::Character),
            (&"a".repeat(64), Reason::Label),
            (&["a"; 128].join("."), Reason::Long),
        ] {
            assert_eq!(DnsName::parse(text).unwrap_err().reason, reason, "{text}");
        }
        assert!(DnsName::parse(&"a".repeat(63)).is_ok());
        assert!(DnsName::parse(&["a"; 127].join(".")).is_ok());
    }

    proptest! {
        /// Every name that is accepted is valid for the resolver too.
        #[test]
        fn names_that_are_taken_can_be_looked_up(text in "[a-zA-Z0-9_.-]{0,70}|\\PC{0,20}") {
            if let Ok(name) = DnsName::parse(&text) {
                prop_assert!(hickory_resolver::proto::rr::Name::from_ascii(name.as_str()).is_ok());
                prop_assert!(!name.host().is_empty());
            }
        }
    }
}
