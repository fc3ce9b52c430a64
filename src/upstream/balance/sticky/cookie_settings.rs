//! Cookie settings of the sticky-session policy.

use std::{error, fmt, time::Duration};

use http::HeaderValue;

use crate::http::headers::ClientScheme;

/// Cross-site requests with which browsers send the cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SameSite {
    /// No cross-site requests.
    Strict,
    /// Navigation by a link only, which a WebSocket handshake from another site's page is not.
    #[default]
    Lax,
    /// All cross-site requests. Browsers require `Secure` for this, so it is always set.
    None,
}

/// Error of [`Sticky::new`](super::Sticky::new).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidSticky {
    /// The text is not a valid cookie name.
    Name(String),
    /// The key is too short: this many bytes.
    Key(usize),
}

/// Name and attributes of the cookie.
#[derive(Clone, Debug)]
pub(super) struct CookieSettings {
    pub(super) name: Box<str>,
    pub(super) same_site: SameSite,
    pub(super) secure: Secure,
    pub(super) max_age: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secure {
    OverTls,
    Always,
}

impl CookieSettings {
    pub(super) fn new(name: &str) -> Result<Self, InvalidSticky> {
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(InvalidSticky::Name(name.to_owned()));
        }
        Ok(Self {
            name: name.into(),
            same_site: SameSite::Lax,
            secure: Secure::OverTls,
            max_age: None,
        })
    }

    /// Returns the `Set-Cookie` value for this token (RFC 6265 §4.1.1).
    pub(super) fn line(&self, value: &str, scheme: ClientScheme) -> Option<HeaderValue> {
        let Self {
            name, same_site, ..
        } = self;
        let mut line = format!("{name}={value}; Path=/; HttpOnly; SameSite={same_site:?}");
        if self.is_secure(scheme) {
            line.push_str("; Secure");
        }
        if let Some(max_age) = self.max_age {
            line.push_str(&format!("; Max-Age={}", max_age.as_secs()));
        }
        let mut line = HeaderValue::try_from(line).ok()?;
        line.set_sensitive(true);
        Some(line)
    }

    fn is_secure(&self, scheme: ClientScheme) -> bool {
        self.secure == Secure::Always
            || self.same_site == SameSite::None
            || scheme == ClientScheme::Https
    }
}

/// RFC 6265 §4.1.1: a cookie's name is a token, RFC 9110 §5.6.2.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

impl fmt::Display for InvalidSticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?} is not a valid cookie name"),
            Self::Key(length) => write!(
                f,
                "the key for sticky cookies has {length} bytes, and must have at least 32"
            ),
        }
    }
}

impl error::Error for InvalidSticky {}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(settings: &CookieSettings, scheme: ClientScheme) -> String {
        let line = settings.line("7f", scheme).unwrap();
        assert!(line.is_sensitive());
        line.to_str().unwrap().to_owned()
    }

    #[test]
    fn the_cookie_is_secure_over_tls() {
        let settings = CookieSettings::new("up").unwrap();
        let plain = "up=7f; Path=/; HttpOnly; SameSite=Lax";
        assert_eq!(line(&settings, ClientScheme::Http), plain);
        assert_eq!(
            line(&settings, ClientScheme::Https),
            format!("{plain}; Secure")
        );
    }

    #[test]
    fn all_attributes_can_be_set() {
        let settings = CookieSettings {
            same_site: SameSite::Strict,
            secure: Secure::Always,
            max_age: Some(Duration::from_millis(90_900)),
            ..CookieSettings::new("up").unwrap()
        };
        assert_eq!(
            line(&settings, ClientScheme::Http),
            "up=7f; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=90"
        );
    }

    #[test]
    fn for_all_sites_it_is_always_secure() {
        let settings = CookieSettings {
            same_site: SameSite::None,
            ..CookieSettings::new("up").unwrap()
        };
        assert_eq!(
            line(&settings, ClientScheme::Http),
            "up=7f; Path=/; HttpOnly; SameSite=None; Secure"
        );
    }

    #[test]
    fn names_are_tokens_rfc6265_4_1_1() {
        for name in ["up", "__Host-up", "!#$%&'*+-.^_`|~09azAZ"] {
            assert!(CookieSettings::new(name).is_ok(), "{name}");
        }
        for name in [
            "", "a b", "a=b", "a;b", "a,b", "a\r\nb", "\"a\"", "ü", "a/b", "(a)", "a@b",
        ] {
            let error = CookieSettings::new(name).unwrap_err();
            assert_eq!(error, InvalidSticky::Name(name.to_owned()));
            assert!(error.to_string().starts_with(&format!("{name:?}")));
        }
    }
}
